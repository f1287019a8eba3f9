#include "contributor/data/text_scan.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "common/crypto/digest.h"

namespace tributary::contributor {
namespace {

// Text that is tokenised together: enough to keep threads busy.
constexpr size_t kBatchBytes = 8u << 20;
constexpr size_t kBatchDocuments = 4096;

std::string DigestOf(std::string_view text) {
  crypto::Sha256 hash;
  hash.Update(text);
  return hash.Bytes();
}

struct Item {
  std::string text;
  std::string digest;
  std::string source;
  Side side = Side::kTrain;
  std::vector<int32_t> ids;
  bool tokenise = true;
};

class Scan {
 public:
  Scan(const TextScanOptions& options, const tokenizer::Tokenizer& tokenizer,
       Selection* selection, TokenStore* store)
      : options_(options),
        tokenizer_(tokenizer),
        selection_(*selection),
        store_(*store) {}

  StatusOr<TextScanSummary> Run() {
    ASSIGN_OR_RETURN(
        const auto reader,
        text::DocumentReader::Create(options_.paths, options_.documents));
    text::Document document;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(&document));
      if (!more) {
        break;
      }
      RETURN_IF_ERROR(Take(document));
      if (bytes_ >= kBatchBytes || batch_.size() == kBatchDocuments) {
        RETURN_IF_ERROR(Flush());
        if (options_.report) {
          RETURN_IF_ERROR(options_.report(reader->fraction()));
        }
      }
    }
    RETURN_IF_ERROR(Flush());
    summary_.read = reader->summary();
    return summary_;
  }

 private:
  Status Take(const text::Document& document) {
    std::string digest = DigestOf(document.text);
    if (document.part == 0) {
      source_ = digest;
    }
    const Side side = options_.side.value_or(SideOf(source_));
    if (options_.side == Side::kHeldOut) {
      RETURN_IF_ERROR(selection_.Exclude(digest));
    } else if (options_.side == Side::kTrain) {
      ASSIGN_OR_RETURN(const bool excluded, selection_.IsExcluded(digest));
      if (excluded) {
        return absl::OkStatus();
      }
    }
    if (selection_.Wants(side, digest) && in_batch_.insert(digest).second) {
      bytes_ += document.text.size();
      batch_.push_back({.text = std::string(document.text),
                        .digest = std::move(digest),
                        .source = source_,
                        .side = side});
    }
    return absl::OkStatus();
  }

  Status Flush() {
    for (Item& item : batch_) {
      ASSIGN_OR_RETURN(auto ids, store_.Find(item.digest));
      if (ids) {
        item.ids = *std::move(ids);
        item.tokenise = false;
        ++summary_.reused;
      }
    }
    RETURN_IF_ERROR(Tokenise());
    for (const Item& item : batch_) {
      if (item.tokenise) {
        RETURN_IF_ERROR(store_.Insert(item.digest, item.ids));
        ++summary_.tokenised;
      }
      RETURN_IF_ERROR(selection_.Add(item.side, item.digest, item.source,
                                     static_cast<int64_t>(item.ids.size())));
    }
    batch_.clear();
    in_batch_.clear();
    bytes_ = 0;
    return store_.Commit();
  }

  Status Tokenise() {
    std::atomic<size_t> next = 0;
    std::mutex mutex;
    Status failure;
    const auto work = [&] {
      for (size_t i = next++; i < batch_.size(); i = next++) {
        Item& item = batch_[i];
        if (!item.tokenise) {
          continue;
        }
        auto ids = tokenizer_.Encode(
            item.text,
            {.special_text = tokenizer::EncodeOptions::SpecialText::kText});
        if (ids.ok()) {
          item.ids = *std::move(ids);
        } else {
          const std::lock_guard lock(mutex);
          failure = ids.status();
        }
      }
    };
    {
      std::vector<std::jthread> helpers;
      for (int i = 1; i < options_.threads && batch_.size() > 1; ++i) {
        helpers.emplace_back(work);
      }
      work();
    }
    return failure;
  }

  const TextScanOptions& options_;
  const tokenizer::Tokenizer& tokenizer_;
  Selection& selection_;
  TokenStore& store_;
  TextScanSummary summary_;
  std::vector<Item> batch_;
  std::set<std::string> in_batch_;  // digests
  size_t bytes_ = 0;
  std::string source_;
};

}  // namespace

StatusOr<TextScanSummary> ScanText(const TextScanOptions& options,
                                   const tokenizer::Tokenizer& tokenizer,
                                   Selection* selection, TokenStore* store) {
  return Scan(options, tokenizer, selection, store).Run();
}

}  // namespace tributary::contributor
