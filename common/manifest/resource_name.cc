#include "common/manifest/resource_name.h"

#include <charconv>

#include "common/base/names.h"

namespace tributary::manifest {
namespace {

// A number of 1 or more without leading zeros, or 0.
int64_t ParseNumber(std::string_view digits) {
  int64_t number = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), number);
  const bool valid = error == std::errc() &&
                     end == digits.data() + digits.size() &&
                     digits.front() >= '1' && digits.front() <= '9';
  return valid ? number : 0;
}

// At most the first 160 bytes of foreign text.
std::string_view Excerpt(std::string_view text) { return text.substr(0, 160); }

}  // namespace

std::string_view CollectionName(Collection collection) {
  switch (collection) {
    case Collection::kContributions:
      return "contributions";
    case Collection::kContributors:
      return "contributors";
    case Collection::kAnchors:
      return "anchors";
    case Collection::kReleases:
      return "releases";
    case Collection::kWithdrawals:
      return "withdrawals";
    case Collection::kReaders:
      return "readers";
    case Collection::kInvitations:
      return "invitations";
  }
  return "";
}

bool IsValidId(std::string_view id) { return IsValidName(id); }

Status CheckId(std::string_view field, std::string_view id) {
  if (!IsValidId(id)) {
    return InvalidArgument("{}: got \"{}\", wanted {}", field, Excerpt(id),
                           kNameRule);
  }
  return absl::OkStatus();
}

std::string ResourceName(Collection collection, std::string_view id) {
  return fmt::format("{}/{}", CollectionName(collection), id);
}

std::string FullResourceName(Collection collection, std::string_view text) {
  const std::string prefix = ResourceName(collection, "");
  return text.starts_with(prefix) ? std::string(text)
                                  : ResourceName(collection, text);
}

StatusOr<std::string> ParseResourceName(Collection collection,
                                        std::string_view name) {
  const std::string_view prefix = CollectionName(collection);
  if (name.starts_with(prefix) && name.size() > prefix.size() + 1 &&
      name[prefix.size()] == '/') {
    const std::string_view id = name.substr(prefix.size() + 1);
    const bool valid = collection == Collection::kReleases
                           ? id == "latest" || ParseNumber(id) > 0
                           : IsValidId(id);
    if (valid) {
      return std::string(id);
    }
  }
  return InvalidArgument(
      "name: got \"{}\", wanted {}/{}", Excerpt(name), prefix,
      collection == Collection::kReleases ? "{number} or releases/latest"
                                          : "{id}");
}

std::string ReleaseName(int64_t number) {
  return fmt::format("{}/{}", CollectionName(Collection::kReleases), number);
}

StatusOr<int64_t> ParseReleaseName(std::string_view name) {
  constexpr std::string_view kPrefix = "releases/";
  const int64_t number =
      name.starts_with(kPrefix) && name.size() > kPrefix.size()
          ? ParseNumber(name.substr(kPrefix.size()))
          : 0;
  if (number == 0) {
    return InvalidArgument("name: got \"{}\", wanted releases/{{number}}",
                           Excerpt(name));
  }
  return number;
}

}  // namespace tributary::manifest
