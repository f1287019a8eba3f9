#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::coordinator {

// Which page of a list is wanted.
struct Page {
  int64_t size = 50;
  // Where the previous page ended; empty for the first page.
  std::string after;

  // For lists by falling sequence numbers.
  StatusOr<int64_t> Before() const;
};

// Page sizes default to 50 and are cut to 1000. Tokens are bound to `list` (the
// method and its other arguments): INVALID_ARGUMENT for one of another list.
StatusOr<Page> ParsePage(int32_t page_size, std::string_view page_token,
                         std::string_view list);

// The token of the page behind `last`.
std::string NextPageToken(std::string_view list, std::string_view last);

}  // namespace tributary::coordinator
