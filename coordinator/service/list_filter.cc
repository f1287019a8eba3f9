#include "coordinator/service/list_filter.h"

#include <cctype>
#include <string>
#include <vector>

#include "common/manifest/resource_name.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;

constexpr size_t kMaxBytes = 1000;

bool IsSpace(char c) { return c == ' ' || c == '\t'; }

// Words, "=" and quoted values, the quotes taken off.
StatusOr<std::vector<std::string>> Tokens(std::string_view text) {
  std::vector<std::string> tokens;
  size_t i = 0;
  while (i < text.size()) {
    if (IsSpace(text[i])) {
      ++i;
    } else if (text[i] == '=') {
      tokens.emplace_back("=");
      ++i;
    } else if (text[i] == '"') {
      const size_t end = text.find('"', i + 1);
      if (end == text.npos) {
        return InvalidArgument("filter: the quote at {} does not end", i);
      }
      tokens.emplace_back(text.substr(i + 1, end - i - 1));
      i = end + 1;
    } else {
      size_t end = i;
      while (end < text.size() && !IsSpace(text[end]) && text[end] != '=' &&
             text[end] != '"') {
        ++end;
      }
      tokens.emplace_back(text.substr(i, end - i));
      i = end;
    }
  }
  return tokens;
}

Status Narrow(const std::string& field, const std::string& value,
              FilterScope scope, ContributionFilter& filter) {
  if (field == "state") {
    filter.state = ParseContributionState(value);
    return filter.state
               ? absl::OkStatus()
               : InvalidArgument(
                     "filter: state is '{}', wanted one such as QUARANTINED",
                     value);
  }
  if (field == "anchor_digest") {
    filter.anchor_digest = value;
    return absl::OkStatus();
  }
  if (field == "contributor" && scope == FilterScope::kEveryone) {
    const StatusOr<std::string> id =
        manifest::ParseResourceName(Collection::kContributors, value);
    if (!id.ok()) {
      return InvalidArgument(
          "filter: contributor is '{}', wanted contributors/{{id}}", value);
    }
    filter.contributor = *id;
    return absl::OkStatus();
  }
  return InvalidArgument(
      "filter: got field '{}', wanted state, {}anchor_digest", field,
      scope == FilterScope::kEveryone ? "contributor, " : "");
}

}  // namespace

StatusOr<ContributionFilter> ParseContributionFilter(std::string_view text,
                                                     FilterScope scope) {
  if (text.size() > kMaxBytes) {
    return InvalidArgument("filter: got {} bytes, wanted at most {}",
                           text.size(), kMaxBytes);
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> tokens, Tokens(text));
  ContributionFilter filter;
  // FIELD = VALUE, then AND and another one.
  constexpr size_t kPeriod = 4;
  for (size_t i = 0; i < tokens.size(); i += kPeriod) {
    const bool whole = i + 2 < tokens.size() && tokens[i + 1] == "=" &&
                       (i + 3 == tokens.size() ||
                        (tokens[i + 3] == "AND" && i + 4 < tokens.size()));
    if (!whole) {
      return InvalidArgument(
          "filter: got '{}', wanted FIELD = VALUE, joined by AND", text);
    }
    RETURN_IF_ERROR(Narrow(tokens[i], tokens[i + 2], scope, filter));
  }
  return filter;
}

}  // namespace tributary::coordinator
