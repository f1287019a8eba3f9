#include "coordinator/service/paging.h"

#include <algorithm>
#include <charconv>

#include "common/crypto/base64.h"
#include "common/crypto/digest.h"

namespace tributary::coordinator {
namespace {

constexpr int64_t kDefaultSize = 50;
constexpr int64_t kLargestSize = 1000;
constexpr size_t kBindingDigits = 16;

std::string Binding(std::string_view list) {
  return crypto::Sha256Hex(list).substr(0, kBindingDigits);
}

}  // namespace

StatusOr<int64_t> Page::Before() const {
  if (after.empty()) {
    return std::numeric_limits<int64_t>::max();
  }
  int64_t value = 0;
  const auto result =
      std::from_chars(after.data(), after.data() + after.size(), value);
  if (result.ec != std::errc() || result.ptr != after.data() + after.size()) {
    return InvalidArgument("page_token: malformed; start from the first page");
  }
  return value;
}

StatusOr<Page> ParsePage(int32_t page_size, std::string_view page_token,
                         std::string_view list) {
  if (page_size < 0) {
    return InvalidArgument("page_size: got {}, wanted 0 to {}", page_size,
                           kLargestSize);
  }
  Page page;
  page.size = page_size == 0 ? kDefaultSize
                             : std::min<int64_t>(page_size, kLargestSize);
  if (page_token.empty()) {
    return page;
  }
  const StatusOr<std::string> token = crypto::DecodeBase64(page_token);
  if (!token.ok() || token->substr(0, kBindingDigits) != Binding(list)) {
    return InvalidArgument(
        "page_token: not of this list; start from the first page");
  }
  page.after = token->substr(kBindingDigits);
  return page;
}

std::string NextPageToken(std::string_view list, std::string_view last) {
  return crypto::EncodeBase64(Binding(list) + std::string(last));
}

}  // namespace tributary::coordinator
