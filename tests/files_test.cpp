// Files: reading text of any kind and state, and writing whole files safely.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/atomic_file.h"
#include "examples/common/text_file.h"
#include "tests/scratch.h"

namespace fs = std::filesystem;
using namespace reel;
using namespace reel::examples;
using namespace reel::scratch;
using Views = std::vector<std::string_view>;

namespace {

std::string gzipped(const std::string& text) {
  const Folder folder;
  gzFile file = ::gzopen((folder / "a").c_str(), "wb");
  ::gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  ::gzclose(file);
  return get(folder / "a");
}

void put_zip(const std::string& path, const std::vector<std::pair<std::string, std::string>>& members) {
  zip_t* archive = ::zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, nullptr);
  REQUIRE(archive != nullptr);
  for (const auto& [name, text] : members) {
    zip_source_t* source = ::zip_source_buffer(archive, text.data(), text.size(), 0);
    if (name.ends_with('/')) {
      ::zip_source_free(source);
      ::zip_dir_add(archive, name.c_str(), 0);
    } else {
      ::zip_file_add(archive, name.c_str(), source, 0);
    }
  }
  REQUIRE(::zip_close(archive) == 0);
}

// A string that zlib cannot make much smaller.
std::string noise(std::size_t size) {
  std::string text;
  for (unsigned x = 1; text.size() < size; x = x * 1664525 + 1013904223) text += static_cast<char>(x >> 24);
  return text;
}

}  // namespace

TEST_CASE("read_text: plain, gzip and zip by content") {
  const Folder folder;
  const std::string text = "eins\nzwei\n" + noise(3'000'000);
  put(folder / "plain", text);
  put(folder / "packed", gzipped(text));
  put(folder / "two", gzipped("ab") + gzipped("cd"));
  put_zip(folder / "one.zip", {{"folder/", ""}, {"folder/data.tsv", text}});
  put_zip(folder / "some.zip", {{"readme.md", "x"}, {"data.txt", text}});
  CHECK(read_text(folder / "plain") == text);
  CHECK(read_text(folder / "packed") == text);
  CHECK(read_text(folder / "two") == "abcd");
  CHECK(read_text(folder / "one.zip") == text);
  CHECK(read_text(folder / "some.zip") == text);
}

TEST_CASE("read_text: a pipe is read to its end") {
  const Folder folder;
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const std::string text = noise(300'000);
  std::thread writer([&] {
    for (std::string_view rest = text; !rest.empty();) {
      const ssize_t count = ::write(ends[1], rest.data(), rest.size());
      if (count <= 0) break;
      rest.remove_prefix(static_cast<std::size_t>(count));
      ::usleep(1000);
    }
    ::close(ends[1]);
  });
  CHECK(read_text(fmt::format("/proc/self/fd/{}", ends[0])) == text);
  writer.join();
  ::close(ends[0]);
}

TEST_CASE("read_text: what is wrong with a file is said with its name") {
  const Folder folder;
  const auto message = [&](const std::string& name, std::size_t most = most_text_bytes) {
    const std::string said = message_of([&] { read_text(folder / name, most); });
    CHECK(said.starts_with(folder / name));
    return said;
  };
  CHECK(message("missing") == Contains("could not be opened: No such file or directory."));
  CHECK(message(".") == Contains("is a directory; want a text file."));
  CHECK(message_of([] { read_text(""); }) == Contains("could not be opened"));
  CHECK(message_of([] { read_text("/dev/zero"); }) == "/dev/zero is a device; want a text file.");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(message("fifo") == Contains("is empty"));  // nobody writes, and nobody waits
  put(folder / "empty", "");
  CHECK(message("empty") == Contains("is empty; want text."));
  put(folder / "empty.gz", gzipped(""));
  CHECK(message("empty.gz") == Contains("is empty"));
  if (::geteuid() != 0) {
    put(folder / "secret", "x");
    ::chmod((folder / "secret").c_str(), 0);
    CHECK(message("secret") == Contains("Permission denied"));
  }

  put(folder / "ten", "0123456789");
  CHECK(read_text(folder / "ten", 10) == "0123456789");
  CHECK(message("ten", 9) == Contains("holds more than 9 bytes of text"));
  put(folder / "bomb.gz", gzipped(std::string(50'000'000, 'a')));
  CHECK(fs::file_size(folder / "bomb.gz") < 100'000);
  CHECK(message("bomb.gz", 1'000'000) == Contains("holds more than 1000000 bytes"));
  put_zip(folder / "bomb.zip", {{"a.txt", std::string(50'000'000, 'a')}});
  CHECK(message("bomb.zip", 1'000'000) == Contains("holds more than 1000000 bytes"));
}

TEST_CASE("read_text: damaged gzip and zip") {
  const Folder folder;
  const auto message = [&](const std::string& bytes) {
    put(folder / "bad", bytes);
    return message_of([&] { read_text(folder / "bad"); });
  };
  const std::string gz = gzipped(noise(5000));
  for (std::size_t length = 2; length < gz.size();
       length += length < 30 || length + 30 > gz.size() ? 1 : 97) {
    CHECK(message(gz.substr(0, length)) == Contains("is cut short"));
  }
  std::string wrong_sum = gz;
  wrong_sum[gz.size() - 6] ^= 1;
  CHECK(message(wrong_sum) ==
        Contains("is damaged: its gzip data breaks after 5000 bytes of text (incorrect data check)"));
  CHECK(message("\x1f\x8b garbage") == Contains("is damaged"));

  put_zip(folder / "good.zip", {{"a.txt", noise(5000)}});
  const std::string zip = get(folder / "good.zip");
  for (std::size_t length = 4; length < zip.size(); length += 61) {
    CHECK(message(zip.substr(0, length)) == Contains("is a damaged zip file"));
  }
  std::string flipped = zip;
  flipped[2000] ^= 1;
  CHECK(message(flipped) == Contains("is a damaged zip file"));
  put_zip(folder / "many.zip", {{"a.txt", "x"}, {"b.txt", "y"}, {"c.md", "z"}});
  CHECK(message(get(folder / "many.zip")) ==
        Contains("holds 3 files, 2 of them .txt; want a zip with one file"));
}

TEST_CASE("check_utf8: line and byte of the first wrong sequence") {
  const auto message = [](std::string_view text) { return message_of([&] { check_utf8(text, "a.txt"); }); };
  CHECK_NOTHROW(check_utf8("", "a.txt"));
  CHECK_NOTHROW(check_utf8(
      "\x7f é 日本 \xf0\x9f\x98\x80 \xef\xbf\xbf \xf4\x8f\xbf\xbf \xed\x9f\xbf \xee\x80\x80", "a.txt"));
  CHECK(message("one\ntwé\nth\xffree") ==
        "a.txt is not UTF-8: line 3, byte 11 (0xff) starts no valid character.");
  for (const std::string_view bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xe2\x82",
                                     "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                                     "\xf5\x80\x80\x80", "\xf0\x9f\x98", "\xc3(", "\xe2\x28\xa1"}) {
    CHECK(message("ab" + std::string(bad)) == Contains("line 1, byte 2 "));
    CHECK(message("ab" + std::string(bad) + "cd\n") == Contains("line 1, byte 2 "));
  }
  const std::string_view with_nul("a\nb\0c", 5);
  CHECK(message(with_nul) == "a.txt looks binary: line 2, byte 3 is NUL; want UTF-8 text.");
  CHECK(looks_binary(with_nul));
  CHECK(!looks_binary("abc"));
  CHECK(message(std::string_view("\xff\xfe"
                                 "a\0",
                                 4)) == Contains("is UTF-16"));
}

TEST_CASE("lines and characters") {
  CHECK(lines("") == Views{});
  CHECK(lines("a") == Views{"a"});
  CHECK(lines("a\n") == Views{"a"});
  CHECK(lines("a\r\n\r\n b\n\nc\r") == Views{"a", "", " b", "", "c"});
  CHECK(lines("\n") == Views{""});
  CHECK(lines("\xef\xbb\xbfx\ny") == Views{"x", "y"});
  CHECK(utf8_chars("") == Views{});
  CHECK(utf8_chars("aé日\xf0\x9f\x98\x80\n") == Views{"a", "é", "日", "\xf0\x9f\x98\x80", "\n"});
  CHECK(utf8_chars("\xff\xe6\x97"
                   "a\xc3") == Views{"\xff", "\xe6", "\x97", "a", "\xc3"});
}

TEST_CASE("write_file_atomically: a new file, an old one, a link, a device") {
  const Folder folder;
  const std::string text = noise(3'000'000);
  const mode_t mask = ::umask(022);
  write_file_atomically(folder / "a", text);
  ::umask(077);
  write_file_atomically(folder / "private", "x");
  ::umask(mask);
  struct stat status {};
  CHECK(get(folder / "a") == text);
  ::stat((folder / "a").c_str(), &status);
  CHECK((status.st_mode & 0777) == 0644);
  ::stat((folder / "private").c_str(), &status);
  CHECK((status.st_mode & 0777) == 0600);
  write_file_atomically(folder / "a", "");
  CHECK(fs::file_size(folder / "a") == 0);

  fs::create_symlink("a", folder / "link");
  write_file_atomically(folder / "link", "through");
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(get(folder / "a") == "through");
  fs::create_symlink("new", folder / "dangling");
  write_file_atomically(folder / "dangling", "made");
  CHECK(get(folder / "new") == "made");
  write_file_atomically("/dev/null", "gone");
  CHECK(fs::is_character_file("/dev/null"));
  CHECK(folder.count() == 5);  // no temporary is left

  const std::string longest(255, 'n');
  write_file_atomically(folder / longest, "x");
  CHECK(get(folder / longest) == "x");
}

TEST_CASE("write_file_atomically: errors name the file and leave the old one") {
  const Folder folder;
  const auto message = [](const std::string& path) {
    return message_of([&] { write_file_atomically(path, "x"); });
  };
  CHECK(message(folder / "none/a") == Contains("/none/a could not be written: No such file or directory."));
  CHECK(message(folder.path.string()) == Contains("it is a directory, not a file"));
  CHECK(message(folder / "none/") == Contains("want the name of a file"));
  CHECK(message("") == Contains("want the name of a file"));
  CHECK(message("/dev/full") == "/dev/full could not be written: No space left on device.");
  CHECK(message(folder / std::string(256, 'n')) == Contains("File name too long"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(message(folder / "fifo") == Contains("a pipe, socket or block device, not a file"));
  fs::create_symlink("loop", folder / "loop");
  CHECK(message(folder / "loop") == Contains("could not be written"));
  CHECK(folder.count() == 2);
}

TEST_CASE("write_file_atomically: a full disk leaves the old file and no temporary") {
  const Folder folder;
  if (::mount("tmpfs", folder.path.c_str(), "tmpfs", 0, "size=64k") != 0) {
    MESSAGE("skipped: no small tmpfs can be mounted here");
    return;
  }
  write_file_atomically(folder / "a", "old");
  CHECK(message_of([&] { write_file_atomically(folder / "a", noise(200'000)); }) ==
        (folder / "a") + " could not be written: No space left on device.");
  CHECK(get(folder / "a") == "old");
  CHECK(folder.count() == 1);
  ::umount(folder.path.c_str());
}

// The same without a mount: the process may write files of at most 4 kB.
TEST_CASE("write_file_atomically: a file that may not grow leaves the old file and no temporary") {
  const Folder folder;
  write_file_atomically(folder / "a", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    try {
      write_file_atomically(folder / "a", noise(200'000));
    } catch (const Error& error) {
      ::_exit(std::string_view(error.what()).ends_with("/a could not be written: File too large.") ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(get(folder / "a") == "old");
  CHECK(folder.count() == 1);
}
