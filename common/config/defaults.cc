#include "common/config/defaults.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "common/base/text.h"
#include "common/config/range_checker.h"

namespace tributary::config {
namespace {

constexpr char kCoordinator[] = "coordinator configuration";
constexpr char kContributor[] = "contributor configuration";
constexpr int64_t kMaxCount = 1 << 24;
constexpr uint64_t kGiB = 1ull << 30;

// 0 and empty take the default.
#define TRIBUTARY_DEFAULT(message, field, value)            \
  if ((message).field() == decltype((message).field()){}) { \
    (message).set_##field(value);                           \
  }

bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= 63 && id.front() != '-' &&
         id.back() != '-' && std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

constexpr std::string_view kIdRule =
    "1 to 63 of a-z, 0-9 and \"-\", not beginning or ending with \"-\"";

}  // namespace
}  // namespace tributary::config
