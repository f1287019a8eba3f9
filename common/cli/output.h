#pragma once

// What commands print: text for a person or one JSON object for a script.

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "nlohmann/json.hpp"

namespace tributary::cli {

enum class OutputFormat { kText, kJson };

// Results go to standard output, everything else to standard error.
class Output {
 public:
  explicit Output(OutputFormat format) : format_(format) {}

  OutputFormat format() const { return format_; }
  bool json() const { return format_ == OutputFormat::kJson; }

  // Prints `text` in text format and `value` in JSON format.
  void Print(std::string_view text, const nlohmann::json& value) const;

  // A line for a person on standard error; nothing in JSON format.
  void Note(std::string_view text) const;

  // Prints an error, as "error: ..." or {"error": {"code", "message"}}.
  void Error(const Status& status) const;

 private:
  const OutputFormat format_;
};

// Aligned columns; the first row is the heading.
std::string FormatTable(const std::vector<std::vector<std::string>>& rows);

}  // namespace tributary::cli
