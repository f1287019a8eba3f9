#pragma once

// Logging through our own header: spdlog's costs seconds of compile time.
// Log once, where an error is handled; never document text, token ids or
// names of private files.

#include <string>
#include <string_view>
#include <utility>

#include "fmt/format.h"

namespace tributary::log {

enum class Level { kDebug, kInfo, kWarning, kError };

struct Options {
  std::string component;  // "coordinator", "contributor", ...
  Level level = Level::kInfo;
  std::string file;  // empty: standard error
  enum class Format { kText, kJson } format = Format::kText;
};

void Configure(const Options& options);
void Write(Level level, std::string_view message);

template <typename... Args>
void Debug(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Info(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Warning(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void Error(fmt::format_string<Args...> format, Args&&... args) {
  Write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace tributary::log
