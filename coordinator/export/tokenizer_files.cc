#include "coordinator/export/tokenizer_files.h"

#include "common/base/files.h"

namespace tributary::coordinator {

Status CopyTokenizerFiles(const std::filesystem::path& from,
                          const std::filesystem::path& to) {
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "vocab.json", "merges.txt", "chat_template.jinja",
        "generation_config.json"}) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(from / name, error)) {
      continue;
    }
    ASSIGN_OR_RETURN(const std::string content, ReadFile(from / name));
    RETURN_IF_ERROR(WriteFileAtomic(to / name, content));
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
