// Weights in files: the safetensors format, read strictly and written atomically.
#pragma once

#include <map>
#include <string>

#include "core/tensor.h"

namespace reel {

struct SafetensorsFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;  // what "__metadata__" says
};

// Reads F32, F64, I64 and BOOL as they are, F16 and BF16 as f32, and I32, I16, I8, U32, U16 and U8 as i64.
//
// Refused, with the file, the tensor and what is wanted: a header that is longer than 100 MB or than the
// file, is not JSON in UTF-8, or names anything twice; other keys than dtype, shape and data_offsets; other
// dtypes; tensors that overlap, leave a hole, or differ in size from what their shape says; bytes after the
// last one; a BOOL other than 0 or 1; more than six dimensions. Memory is taken only for what the file holds.
SafetensorsFile load_safetensors(const std::string& path);

// Writes f32, f64, i64 and bool through write_file_atomically, laid out as the format's own library does: the
// larger elements first, then by name.
void save_safetensors(const std::string& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace reel
