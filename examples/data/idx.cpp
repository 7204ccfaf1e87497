#include "examples/data/idx.h"

#include "core/error.h"
#include "examples/common/text_file.h"

namespace reel::examples {

Idx read_idx(const std::string& path, std::size_t axes) {
  const std::string bytes = read_text(path);
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const std::size_t header = 4 + 4 * axes;
  if (bytes.size() < 4 || byte(0) != 0 || byte(1) != 0) {
    fail("{} is not IDX: want its first bytes to be 00 00 08 and the number of axes", path);
  }
  if (byte(2) != 8) fail("{}, byte 2: the type is 0x{:02x}; want 0x08, unsigned bytes", path, byte(2));
  if (byte(3) != axes) fail("{}, byte 3: {} axes; want {}", path, byte(3), axes);
  if (bytes.size() < header)
    fail("{} is cut short: {} bytes; want a header of {}", path, bytes.size(), header);
  Idx idx;
  const std::size_t held = bytes.size() - header;
  std::size_t wanted = 1;
  for (std::size_t axis = 0; axis < axes; ++axis) {
    std::size_t size = 0;
    for (std::size_t k = 0; k < 4; ++k) size = size << 8 | byte(4 + 4 * axis + k);
    // The product cannot overflow: it is at most what the file holds, times 2^32.
    if (size == 0 || wanted * size > held) {
      fail("{}, byte {}: axis {} has size {}, and {} bytes of values follow: want as many as the sizes say",
           path, 4 + 4 * axis, axis, size, held);
    }
    wanted *= size;
    idx.shape.push_back(static_cast<int64_t>(size));
  }
  if (wanted != held) fail("{}: {} bytes of values; want {}, as its sizes say", path, held, wanted);
  idx.values.assign(bytes.begin() + static_cast<std::ptrdiff_t>(header), bytes.end());
  return idx;
}

LabelledPictures read_pictures(const std::string& pictures, const std::string& labels, int64_t classes) {
  Idx p = read_idx(pictures, 3);
  const Idx l = read_idx(labels, 1);
  if (p.rows() != l.rows()) {
    fail("{} holds {} pictures and {} {} labels: want as many", pictures, p.rows(), labels, l.rows());
  }
  for (std::size_t k = 0; k < l.values.size(); ++k) {
    if (l.values[k] >= classes) {
      fail("{}, byte {}: the label {}; want 0 to {}", labels, 8 + k, l.values[k], classes - 1);
    }
  }
  return {p.shape[0], p.shape[1], p.shape[2], std::move(p.values), {l.values.begin(), l.values.end()}};
}

}  // namespace reel::examples
