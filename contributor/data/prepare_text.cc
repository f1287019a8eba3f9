#include "contributor/data/prepare_text.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "common/crypto/digest.h"
#include "common/tokenizer/tokenizer.h"
#include "contributor/data/selection.h"
#include "contributor/data/text_scan.h"
#include "contributor/data/token_cache.h"
#include "contributor/data/window_cut.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

Status CheckOptions(const PrepareTextOptions& options) {
  if (options.train_paths.empty()) {
    return InvalidArgument("training text: got no path, wanted at least one");
  }
  if (options.window_tokens < 2) {
    return InvalidArgument("window_tokens: got {}, wanted at least 2",
                           options.window_tokens);
  }
  if (options.max_train_windows < 0 || options.max_heldout_windows < 0 ||
      options.max_windows_per_document < 0) {
    return InvalidArgument(
        "got at most {} windows to train, {} held out, {} of a document; "
        "wanted 0 (all) or more",
        options.max_train_windows, options.max_heldout_windows,
        options.max_windows_per_document);
  }
  return absl::OkStatus();
}

Status CheckMinimum(const PrepareTextOptions& options,
                    const PreparedText& text) {
  const bool shared = options.packing == PrepareTextOptions::Packing::kShared;
  if (text.train_documents == 0) {
    return FailedPrecondition(
        "training text: {} {} tokens ({} documents are too short); give {} or "
        "a smaller window_tokens",
        shared ? "all documents together do not have" : "no document has",
        options.window_tokens, text.skipped_documents,
        shared ? "more text" : "longer documents");
  }
  if (text.train_documents < options.min_documents ||
      text.train_tokens < options.min_tokens) {
    return FailedPrecondition(
        "training text: got {} tokens of {} documents, the policy wants at "
        "least {} tokens of {} documents ({} documents were too short for a "
        "window of {} tokens); give more text or lower min_documents and "
        "min_tokens",
        text.train_tokens, text.train_documents, options.min_tokens,
        options.min_documents, text.skipped_documents, options.window_tokens);
  }
  if (text.heldout_documents == 0) {
    return FailedPrecondition(
        "held-out text: no {} {} tokens; give more documents, or held-out text "
        "of its own",
        shared ? "documents with together" : "document has",
        options.window_tokens);
  }
  return absl::OkStatus();
}

class Preparation {
 public:
  Preparation(const PrepareTextOptions& options, const fs::path& output_path,
              const tokenizer::Tokenizer& tokenizer)
      : options_(options), output_path_(output_path), tokenizer_(tokenizer) {
    selection_.window_tokens = options.window_tokens;
    selection_.max_windows = {options.max_train_windows,
                              options.max_heldout_windows};
    selection_.packing = options.packing == PrepareTextOptions::Packing::kShared
                             ? SelectionOptions::Packing::kShared
                             : SelectionOptions::Packing::kNone;
  }

  StatusOr<PreparedText> Run(TokenStore* store) {
    ASSIGN_OR_RETURN(
        const auto selection,
        Selection::Create(output_path_.string() + ".selection", selection_));
    if (options_.heldout_paths.empty()) {
      RETURN_IF_ERROR(
          Scan(options_.train_paths, std::nullopt, selection.get(), store));
      RETURN_IF_ERROR(selection->Balance());
    } else {
      RETURN_IF_ERROR(
          Scan(options_.heldout_paths, Side::kHeldOut, selection.get(), store));
      RETURN_IF_ERROR(
          Scan(options_.train_paths, Side::kTrain, selection.get(), store));
    }
    ASSIGN_OR_RETURN(const WindowCut train,
                     Plan(selection.get(), Side::kTrain));
    ASSIGN_OR_RETURN(const WindowCut heldout,
                     Plan(selection.get(), Side::kHeldOut));
    result_.train_documents = train.documents();
    result_.heldout_documents = heldout.documents();
    result_.train_tokens = train.windows() * options_.window_tokens;
    result_.heldout_tokens = heldout.windows() * options_.window_tokens;
    result_.skipped_documents = train.skipped() + heldout.skipped();
    RETURN_IF_ERROR(CheckMinimum(options_, result_));
    std::vector<WindowFile::Tensor> tensors = {{"train", train.windows()},
                                               {"heldout", heldout.windows()}};
    if (selection_.packing == SelectionOptions::Packing::kShared) {
      tensors.push_back({"train_documents", train.windows()});
      tensors.push_back({"heldout_documents", heldout.windows()});
    }
    ASSIGN_OR_RETURN(
        const auto file,
        WindowFile::Create(output_path_, tensors, options_.window_tokens));
    RETURN_IF_ERROR(train.Write(store, file.get(), 0, 2));
    RETURN_IF_ERROR(heldout.Write(store, file.get(), 1, 3));
    RETURN_IF_ERROR(file->Finish());
    ASSIGN_OR_RETURN(const auto digest, crypto::DigestFile(output_path_));
    result_.digest = digest.sha256;
    return result_;
  }

 private:
  Status Scan(const std::vector<fs::path>& paths, std::optional<Side> side,
              Selection* selection, TokenStore* store) {
    const TextScanOptions options = {
        .paths = paths,
        .documents = {.text_field = options_.text_field,
                      .max_document_bytes = options_.max_document_bytes},
        .side = side,
        .threads = options_.threads,
        .report = options_.report};
    ASSIGN_OR_RETURN(const TextScanSummary summary,
                     ScanText(options, tokenizer_, selection, store));
    result_.cut_documents += summary.read.cut_documents;
    result_.tokenised_documents += summary.tokenised;
    result_.cached_documents += summary.reused;
    return absl::OkStatus();
  }

  StatusOr<WindowCut> Plan(Selection* selection, Side side) const {
    return WindowCut::Plan(selection, {.side = side,
                                       .selection = selection_,
                                       .max_windows_per_document =
                                           options_.max_windows_per_document});
  }

  const PrepareTextOptions& options_;
  const fs::path& output_path_;
  const tokenizer::Tokenizer& tokenizer_;
  SelectionOptions selection_;
  PreparedText result_;
};

}  // namespace

StatusOr<PreparedText> PrepareText(const PrepareTextOptions& options,
                                   const fs::path& output_path) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(const auto tokenizer,
                   tokenizer::Tokenizer::Load(options.tokenizer_path));
  ASSIGN_OR_RETURN(const auto digest,
                   crypto::DigestFile(options.tokenizer_path));
  ASSIGN_OR_RETURN(
      const auto cache,
      TokenCache::Open({.directory = options.cache_directory,
                        .scratch_path = output_path.string() + ".tokens",
                        .tokenizer_digest = digest.sha256,
                        .max_bytes = options.max_cache_bytes}));
  auto result =
      Preparation(options, output_path, *tokenizer).Run(&cache->store());
  if (absl::IsDataLoss(result.status())) {
    // The store was damaged behind its header: once more, without it.
    RETURN_IF_ERROR(cache->Reset());
    result = Preparation(options, output_path, *tokenizer).Run(&cache->store());
  }
  RETURN_IF_ERROR(result.status());
  RETURN_IF_ERROR(cache->Prune());
  return result;
}

}  // namespace tributary::contributor
