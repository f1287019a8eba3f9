#include "contributor/study/study_options.h"

#include <charconv>

#include "common/model_format/expert_layout.h"

namespace tributary::contributor {

StatusOr<int64_t> ParseWidth(const std::string& text,
                             int64_t intermediate_size) {
  ASSIGN_OR_RETURN(const int64_t block,
                   model_format::WidthBlock(intermediate_size));
  double value = 0;
  const bool share = !text.empty() && text.back() == '%';
  const char* end = text.data() + text.size() - (share ? 1 : 0);
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end ||
      (share && !(value > 0 && value < 100))) {
    return InvalidArgument(
        "--widths: got {}, wanted channels such as 512 or a share below 100% "
        "such as 50%",
        text);
  }
  if (share) {
    return model_format::RoundToBlock(
        intermediate_size,
        static_cast<int64_t>(value / 100 *
                             static_cast<double>(intermediate_size)));
  }
  const auto width = static_cast<int64_t>(value);
  if (static_cast<double>(width) != value || width < block ||
      width >= intermediate_size || width % block != 0) {
    return InvalidArgument(
        "--widths: got {}, wanted a multiple of the anchor's block {} below "
        "its {} channels",
        text, block, intermediate_size);
  }
  return width;
}

}  // namespace tributary::contributor
