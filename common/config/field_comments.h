#pragma once

#include <string>
#include <string_view>

namespace tributary::config {

// The comment on a message or field of the configuration, by its full name
// ("tributary.config.CoordinatorConfig.federation"); empty when there is none.
std::string_view FieldComment(std::string_view full_name);

// The same as lines that begin with `indent` and "# ", at most 78 columns.
std::string CommentLines(std::string_view full_name, std::string_view indent);

}  // namespace tributary::config
