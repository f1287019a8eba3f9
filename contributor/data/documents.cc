#include "contributor/data/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/files.h"
#include "common/base/text.h"
#include "contributor/data/decompress.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

enum class Form { kText, kJsonLines };
enum class Packing { kPlain, kGzip, kZstd };

struct Kind {
  Form form = Form::kText;
  Packing packing = Packing::kPlain;
};

std::optional<Kind> KindOf(const fs::path& path) {
  Kind kind;
  fs::path name = path.filename();
  if (name.extension() == ".gz") {
    kind.packing = Packing::kGzip;
  } else if (name.extension() == ".zst") {
    kind.packing = Packing::kZstd;
  }
  if (kind.packing != Packing::kPlain) {
    name = name.stem();
  }
  if (name.extension() == ".jsonl") {
    kind.form = Form::kJsonLines;
  } else if (name.extension() != ".txt") {
    return std::nullopt;
  }
  return kind;
}

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

// The next line without its end, and the rest.
std::string_view TakeLine(std::string_view* rest) {
  const size_t end = rest->find('\n');
  const std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  return line;
}

StatusOr<std::string> ReadText(const fs::path& path, Kind kind,
                               const DocumentOptions& options) {
  ASSIGN_OR_RETURN(std::string content, ReadFile(path, options.max_file_bytes));
  if (kind.packing != Packing::kPlain) {
    auto unpacked = kind.packing == Packing::kGzip
                        ? Gunzip(content, options.max_file_bytes)
                        : Unzstd(content, options.max_file_bytes);
    if (!unpacked.ok()) {
      return Annotate(unpacked.status(), path.string());
    }
    content = *std::move(unpacked);
  }
  if (const auto offset = FirstInvalidUtf8(content)) {
    return InvalidArgument(
        "{}: byte {} (0x{:02x}) is not UTF-8; convert the file, for example "
        "with iconv",
        path.string(), *offset, static_cast<unsigned char>(content[*offset]));
  }
  return content;
}

Status VisitParagraphs(std::string_view text,
                       const std::function<Status(std::string_view)>& visit) {
  const char* begin = text.data();
  const char* end = begin;
  while (!text.empty()) {
    const std::string_view line = TakeLine(&text);
    const std::string_view document(begin, end - begin);
    if (!IsBlank(line)) {
      end = line.data() + line.size();
    } else {
      if (!IsBlank(document)) {
        RETURN_IF_ERROR(visit(document));
      }
      begin = end = text.data();
    }
  }
  const std::string_view document(begin, end - begin);
  return IsBlank(document) ? absl::OkStatus() : visit(document);
}

Status VisitJsonLines(const fs::path& path, std::string_view text,
                      const std::string& field,
                      const std::function<Status(std::string_view)>& visit) {
  for (int64_t number = 1; !text.empty(); ++number) {
    const std::string_view line = TakeLine(&text);
    if (IsBlank(line)) {
      continue;
    }
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) {
      return InvalidArgument(
          "{}: line {} is not a JSON object; wanted one document a line, "
          "{{\"{}\": \"...\"}}",
          path.string(), number, field);
    }
    const auto found = json.find(field);
    if (found == json.end() || !found->is_string()) {
      return InvalidArgument(
          "{}: line {} has no string field \"{}\"; name the text's field with "
          "text_field",
          path.string(), number, field);
    }
    const auto& document = found->get_ref<const std::string&>();
    if (!IsBlank(document)) {
      RETURN_IF_ERROR(visit(document));
    }
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<std::vector<fs::path>> ListTextFiles(
    const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      if (!KindOf(path)) {
        return InvalidArgument(
            "{}: unknown kind of text file; wanted .txt or .jsonl, optionally "
            "with .gz or .zst behind it",
            path.string());
      }
      files.push_back(path);
      continue;
    }
    if (!fs::is_directory(path, error)) {
      return NotFound("{}: no such text file or folder", path.string());
    }
    std::vector<fs::path> found;
    fs::recursive_directory_iterator walk(path, error);
    for (; !error && walk != fs::recursive_directory_iterator();
         walk.increment(error)) {
      const bool hidden = walk->path().filename().string().starts_with('.');
      if (hidden && walk->is_directory()) {
        walk.disable_recursion_pending();
      } else if (!hidden && !walk->is_symlink() && walk->is_regular_file() &&
                 KindOf(walk->path())) {
        found.push_back(walk->path());
      }
    }
    if (error) {
      return ErrnoStatus(error.value(), path.string());
    }
    if (found.empty()) {
      return NotFound("{}: no .txt or .jsonl file in this folder",
                      path.string());
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

Status ForEachDocument(const std::vector<fs::path>& files,
                       const DocumentOptions& options,
                       const std::function<Status(std::string_view)>& visit) {
  for (const fs::path& path : files) {
    const auto kind = KindOf(path);
    if (!kind) {
      return InvalidArgument("{}: neither .txt nor .jsonl", path.string());
    }
    ASSIGN_OR_RETURN(const std::string text, ReadText(path, *kind, options));
    if (kind->form == Form::kJsonLines) {
      RETURN_IF_ERROR(VisitJsonLines(path, text, options.text_field, visit));
    } else if (files.size() == 1) {
      RETURN_IF_ERROR(VisitParagraphs(text, visit));
    } else if (!IsBlank(text)) {
      RETURN_IF_ERROR(visit(text));
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
