#include "common/cli/output.h"

#include <algorithm>
#include <iostream>

#include "common/base/exit_code.h"

namespace tributary::cli {
namespace {

// Columns that a UTF-8 text takes, one per code point.
size_t DisplayWidth(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace

void Output::Print(std::string_view text, const nlohmann::json& value) const {
  if (json()) {
    std::cout << value.dump(2, ' ', false,
                            nlohmann::json::error_handler_t::replace)
              << std::endl;
    return;
  }
  std::cout << text;
  if (!text.empty() && text.back() != '\n') {
    std::cout << '\n';
  }
  std::cout << std::flush;
}

void Output::Note(std::string_view text) const {
  if (!json()) {
    std::cerr << text << std::endl;
  }
}

void Output::Error(const Status& status) const {
  const std::string message(status.message());
  if (json()) {
    const nlohmann::json error = {
        {"error",
         {{"code", absl::StatusCodeToString(status.code())},
          {"message", message},
          {"exit_code", static_cast<int>(ExitCodeFor(status))}}}};
    std::cout << error.dump(2, ' ', false,
                            nlohmann::json::error_handler_t::replace)
              << std::endl;
    return;
  }
  std::cerr << "error: " << message << std::endl;
}

std::string FormatTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()), 0);
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) {
        line.append(widths[i] - DisplayWidth(row[i]) + 2, ' ');
      }
    }
    text += line + '\n';
  }
  return text;
}

}  // namespace tributary::cli
