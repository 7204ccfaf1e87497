# What every target of ours shares: how its sources are found and how it is compiled.

# reel_sources(out folder...): the .cpp files directly inside the folders; one that is missing has none.
function(reel_sources out)
  list(TRANSFORM ARGN PREPEND ${PROJECT_SOURCE_DIR}/)
  list(TRANSFORM ARGN APPEND /*.cpp)
  file(GLOB found CONFIGURE_DEPENDS ${ARGN})
  set(${out} ${found} PARENT_SCOPE)
endfunction()

# reel_compile(target): C++20, the warnings, and the sanitizers of REEL_SANITIZE.
function(reel_compile target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF COMPILE_WARNING_AS_ERROR ${REEL_WERROR})
  if(REEL_SANITIZE)
    set(flags -fsanitize=${REEL_SANITIZE} -fno-sanitize-recover=all)
    target_compile_options(${target} PRIVATE ${flags} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC ${flags})
  endif()
endfunction()

# reel_program(name library source...): an executable in bin/ that holds every op of reel, which comes with
# `library`. Ops register themselves through static objects, which a linker drops from an archive when nothing else
# in their file is used, hence the whole archive.
function(reel_program name library)
  add_executable(${name} ${ARGN})
  reel_compile(${name})
  target_link_libraries(${name} PRIVATE ${library})
  set_target_properties(${name} PROPERTIES
    LINK_LIBRARY_OVERRIDE_reel WHOLE_ARCHIVE
    RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()
