#include "common/base/names.h"

#include <algorithm>
#include <charconv>

namespace tributary {

bool IsValidName(std::string_view text) {
  return !text.empty() && text.size() <= 63 && text.front() != '-' &&
         text.back() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string HostPort::ToString() const {
  return host.find(':') == std::string::npos
             ? fmt::format("{}:{}", host, port)
             : fmt::format("[{}]:{}", host, port);
}

StatusOr<HostPort> ParseHostPort(std::string_view text) {
  const auto refuse = [&] {
    return InvalidArgument("got \"{}\", wanted host:port", text.substr(0, 300));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return refuse();
  }
  std::string_view host = text.substr(0, colon);
  const bool bracketed =
      host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) {
    host = host.substr(1, host.size() - 2);
  }
  const std::string_view forbidden =
      bracketed ? std::string_view("[] /\t\r\n") : ":[] /\t\r\n";
  HostPort result{.host = std::string(host)};
  const std::string_view digits = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(
      digits.data(), digits.data() + digits.size(), result.port);
  if (host.empty() || host.find_first_of(forbidden) != std::string_view::npos ||
      error != std::errc() || end != digits.data() + digits.size()) {
    return refuse();
  }
  return result;
}

}  // namespace tributary
