#include "common/evaluation/text_windows.h"

#include <algorithm>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "nlohmann/json.hpp"

namespace tributary::evaluation {
namespace {

namespace fs = std::filesystem;

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r\f\v") == std::string_view::npos;
}

// Calls `body(line, number)` for every line, without its end.
template <typename Body>
Status ForEachLine(std::string_view text, const Body& body) {
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    RETURN_IF_ERROR(body(text.substr(0, end), ++number));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return absl::OkStatus();
}

Status ReadJsonLines(const fs::path& path, std::string_view text,
                     std::vector<std::string>& documents) {
  return ForEachLine(text, [&](std::string_view line, int64_t number) {
    if (IsBlank(line)) {
      return absl::OkStatus();
    }
    const StatusOr<Json> value = ParseJson(line);
    if (!value.ok()) {
      return Annotate(value.status(),
                      fmt::format("{}:{}", path.string(), number));
    }
    const auto field = value->is_object() ? value->find("text") : value->end();
    if (!value->is_object() || field == value->end() || !field->is_string()) {
      return InvalidArgument("{}:{}: wanted an object with a string \"text\"",
                             path.string(), number);
    }
    std::string document = field->get<std::string>();
    if (!IsBlank(document)) {
      documents.push_back(std::move(document));
    }
    return absl::OkStatus();
  });
}

Status ReadPlainText(std::string_view text,
                     std::vector<std::string>& documents) {
  std::string document;
  const auto finish = [&] {
    if (!document.empty()) {
      documents.push_back(std::move(document));
      document.clear();
    }
  };
  RETURN_IF_ERROR(
      ForEachLine(text, [&](std::string_view line, int64_t) -> Status {
        if (IsBlank(line)) {
          finish();
        } else {
          document.append(line).push_back('\n');
        }
        return absl::OkStatus();
      }));
  finish();
  return absl::OkStatus();
}

Status ReadTextFile(const fs::path& path, std::vector<std::string>& documents) {
  const std::string extension = path.extension().string();
  if (extension != ".jsonl" && extension != ".txt") {
    return InvalidArgument(
        "{}: wanted a .jsonl or .txt file (unpack compressed ones first)",
        path.string());
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  if (const auto offset = FirstInvalidUtf8(text)) {
    return InvalidArgument("{}: is not UTF-8 at byte {}", path.string(),
                           *offset);
  }
  return extension == ".jsonl" ? ReadJsonLines(path, text, documents)
                               : ReadPlainText(text, documents);
}

}  // namespace

StatusOr<std::vector<std::string>> ReadDocuments(
    const std::vector<fs::path>& paths) {
  std::vector<std::string> documents;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      RETURN_IF_ERROR(ReadTextFile(path, documents));
      continue;
    }
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(
             path, fs::directory_options::skip_permission_denied, error)) {
      const std::string extension = entry.path().extension().string();
      if (entry.is_regular_file(error) &&
          (extension == ".jsonl" || extension == ".txt")) {
        files.push_back(entry.path());
      }
    }
    if (error) {
      return ErrnoStatus(error.value(), path.string());
    }
    if (files.empty()) {
      return InvalidArgument("{}: has no .jsonl or .txt files", path.string());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      RETURN_IF_ERROR(ReadTextFile(file, documents));
    }
  }
  return documents;
}

StatusOr<Windows> CutWindows(const tokenizer::Tokenizer& tokenizer,
                             const std::vector<std::string>& documents,
                             const WindowOptions& options) {
  if (options.window_tokens < 2) {
    return InvalidArgument("window_tokens: got {}, wanted at least 2",
                           options.window_tokens);
  }
  const auto length = static_cast<size_t>(options.window_tokens);
  const auto limit = options.max_windows > 0
                         ? static_cast<size_t>(options.max_windows)
                         : SIZE_MAX;
  std::vector<std::vector<int32_t>> ids;
  Windows windows;
  // The window of a document that begins at `begin`.
  const auto take = [&](const std::vector<int32_t>& document, size_t begin) {
    const size_t count =
        begin < document.size() ? std::min(length, document.size() - begin) : 0;
    const bool kept =
        count == length ||
        (options.rest == WindowOptions::Rest::kKeep && count >= 2);
    if (kept && windows.size() < limit) {
      const auto first = document.begin() + static_cast<std::ptrdiff_t>(begin);
      windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
    }
    return kept;
  };
  for (const std::string& document : documents) {
    if (windows.size() >= limit) {
      return windows;
    }
    ASSIGN_OR_RETURN(
        std::vector<int32_t> tokens,
        tokenizer.Encode(
            document,
            {.special_text = tokenizer::EncodeOptions::SpecialText::kText}));
    if (take(tokens, 0)) {
      ids.push_back(std::move(tokens));
    }
  }
  for (size_t round = 1; !ids.empty() && windows.size() < limit; ++round) {
    std::erase_if(ids, [&](const std::vector<int32_t>& document) {
      return !take(document, round * length);
    });
  }
  return windows;
}

at::Tensor ToTensor(const Windows& windows, int64_t window_tokens) {
  at::Tensor ids = at::empty(
      {static_cast<int64_t>(windows.size()), window_tokens}, at::kInt);
  int32_t* to = ids.mutable_data_ptr<int32_t>();
  for (const auto& window : windows) {
    TORCH_CHECK(static_cast<int64_t>(window.size()) == window_tokens,
                "a window has ", window.size(), " tokens, wanted ",
                window_tokens);
    to = std::copy(window.begin(), window.end(), to);
  }
  return ids;
}

}  // namespace tributary::evaluation
