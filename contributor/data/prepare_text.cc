#include "contributor/data/prepare_text.h"

#include <set>

#include "common/crypto/digest.h"
#include "common/safetensors/writer.h"
#include "common/tokenizer/tokenizer.h"
#include "contributor/data/documents.h"
#include "contributor/data/windows.h"

namespace tributary::contributor {
namespace {

// Adds the documents of `paths` whose digests are not in `seen` yet.
StatusOr<std::vector<Document>> Load(
    const std::vector<std::filesystem::path>& paths,
    const std::string& text_field, std::set<std::string>* seen) {
  ASSIGN_OR_RETURN(const auto files, ListTextFiles(paths));
  std::vector<Document> documents;
  RETURN_IF_ERROR(ForEachDocument(
      files, {.text_field = text_field}, [&](std::string_view text) {
        crypto::Sha256 hash;
        hash.Update(text);
        std::string digest = hash.Bytes();
        if (seen->insert(digest).second) {
          documents.push_back({std::move(digest), std::string(text)});
        }
        return absl::OkStatus();
      }));
  return documents;
}

Status CheckMinimum(const PrepareTextOptions& options,
                    const PreparedText& text) {
  if (text.train_documents == 0) {
    return FailedPrecondition(
        "training text: no document has {} tokens ({} are shorter); give "
        "longer documents or a smaller window_tokens",
        options.window_tokens, text.skipped_documents);
  }
  if (text.train_documents < options.min_documents ||
      text.train_tokens < options.min_tokens) {
    return FailedPrecondition(
        "training text: got {} tokens of {} documents, the policy wants at "
        "least {} tokens of {} documents ({} documents were shorter than {} "
        "tokens); give more text or lower min_documents and min_tokens",
        text.train_tokens, text.train_documents, options.min_tokens,
        options.min_documents, text.skipped_documents, options.window_tokens);
  }
  if (text.heldout_documents == 0) {
    return FailedPrecondition(
        "held-out text: no document has {} tokens; give more documents, or "
        "held-out text of its own",
        options.window_tokens);
  }
  return absl::OkStatus();
}

safetensors::TensorView View(const std::string& name, const Windows& windows,
                             int64_t length) {
  return {{name, safetensors::DType::kI32, {windows.windows, length}},
          std::as_bytes(std::span(windows.ids))};
}

}  // namespace

StatusOr<PreparedText> PrepareText(const PrepareTextOptions& options,
                                   const std::filesystem::path& output_path) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   tokenizer::Tokenizer::Load(options.tokenizer_path));
  if (options.train_paths.empty()) {
    return InvalidArgument("training text: got no path, wanted at least one");
  }
  std::set<std::string> seen;
  Split split;
  if (!options.heldout_paths.empty()) {
    ASSIGN_OR_RETURN(split.heldout,
                     Load(options.heldout_paths, options.text_field, &seen));
    ASSIGN_OR_RETURN(split.train,
                     Load(options.train_paths, options.text_field, &seen));
  } else {
    ASSIGN_OR_RETURN(auto documents,
                     Load(options.train_paths, options.text_field, &seen));
    split = SplitByDigest(std::move(documents));
  }
  WindowOptions cut = {
      .window_tokens = options.window_tokens,
      .max_windows = options.max_train_windows,
      .max_windows_per_document = options.max_windows_per_document};
  ASSIGN_OR_RETURN(const Windows train,
                   CutWindows(std::move(split.train), *tokenizer, cut));
  cut.max_windows = options.max_heldout_windows;
  ASSIGN_OR_RETURN(const Windows heldout,
                   CutWindows(std::move(split.heldout), *tokenizer, cut));
  PreparedText result = {
      .train_documents = train.documents,
      .heldout_documents = heldout.documents,
      .train_tokens = static_cast<int64_t>(train.ids.size()),
      .heldout_tokens = static_cast<int64_t>(heldout.ids.size()),
      .skipped_documents = train.skipped + heldout.skipped};
  RETURN_IF_ERROR(CheckMinimum(options, result));
  RETURN_IF_ERROR(safetensors::WriteFile(
      output_path, {View("train", train, options.window_tokens),
                    View("heldout", heldout, options.window_tokens)}));
  ASSIGN_OR_RETURN(const auto digest, crypto::DigestFile(output_path));
  result.digest = digest.sha256;
  return result;
}

}  // namespace tributary::contributor
