#include "common/evaluation/text_windows.h"

#include <algorithm>

#include "common/text/document_reader.h"

namespace tributary::evaluation {
namespace {

namespace fs = std::filesystem;

// Cuts documents one by one; those that still have windows are kept.
class Cutter {
 public:
  Cutter(const tokenizer::Tokenizer& tokenizer, const WindowOptions& options)
      : tokenizer_(tokenizer),
        keep_rests_(options.rest == WindowOptions::Rest::kKeep),
        length_(static_cast<size_t>(options.window_tokens)),
        limit_(options.max_windows > 0
                   ? static_cast<size_t>(options.max_windows)
                   : SIZE_MAX) {}

  bool full() const { return windows_.size() >= limit_; }

  // Takes the first window of a document.
  Status Add(std::string_view document) {
    ASSIGN_OR_RETURN(
        std::vector<int32_t> tokens,
        tokenizer_.Encode(
            document,
            {.special_text = tokenizer::EncodeOptions::SpecialText::kText}));
    if (Take(tokens, 0)) {
      ids_.push_back(std::move(tokens));
    }
    return absl::OkStatus();
  }

  // The first windows of all, then the second ones, and so on.
  Windows Finish() {
    for (size_t round = 1; !ids_.empty() && !full(); ++round) {
      std::erase_if(ids_, [&](const std::vector<int32_t>& document) {
        return !Take(document, round * length_);
      });
    }
    return std::move(windows_);
  }

 private:
  // The window of a document that begins at `begin`.
  bool Take(const std::vector<int32_t>& document, size_t begin) {
    const size_t count = begin < document.size()
                             ? std::min(length_, document.size() - begin)
                             : 0;
    const bool kept = count == length_ || (keep_rests_ && count >= 2);
    if (kept && !full()) {
      const auto first = document.begin() + static_cast<std::ptrdiff_t>(begin);
      windows_.emplace_back(first, first + static_cast<std::ptrdiff_t>(count));
    }
    return kept;
  }

  const tokenizer::Tokenizer& tokenizer_;
  const bool keep_rests_;
  const size_t length_;
  const size_t limit_;
  std::vector<std::vector<int32_t>> ids_;
  Windows windows_;
};

Status CheckLength(const WindowOptions& options) {
  return options.window_tokens >= 2
             ? absl::OkStatus()
             : InvalidArgument("window_tokens: got {}, wanted at least 2",
                               options.window_tokens);
}

}  // namespace

StatusOr<std::vector<std::string>> ReadDocuments(
    const std::vector<fs::path>& paths) {
  ASSIGN_OR_RETURN(const auto reader, text::DocumentReader::Create(paths));
  std::vector<std::string> documents;
  text::Document document;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader->Next(&document));
    if (!more) {
      return documents;
    }
    documents.emplace_back(document.text);
  }
}

StatusOr<Windows> CutWindows(const tokenizer::Tokenizer& tokenizer,
                             const std::vector<std::string>& documents,
                             const WindowOptions& options) {
  RETURN_IF_ERROR(CheckLength(options));
  Cutter cutter(tokenizer, options);
  for (const std::string& document : documents) {
    if (cutter.full()) {
      break;
    }
    RETURN_IF_ERROR(cutter.Add(document));
  }
  return cutter.Finish();
}

StatusOr<Windows> CutTextWindows(const tokenizer::Tokenizer& tokenizer,
                                 const std::vector<fs::path>& paths,
                                 const WindowOptions& options) {
  RETURN_IF_ERROR(CheckLength(options));
  ASSIGN_OR_RETURN(const auto reader, text::DocumentReader::Create(paths));
  Cutter cutter(tokenizer, options);
  text::Document document;
  while (!cutter.full()) {
    ASSIGN_OR_RETURN(const bool more, reader->Next(&document));
    if (!more) {
      break;
    }
    RETURN_IF_ERROR(cutter.Add(document.text));
  }
  return cutter.Finish();
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
