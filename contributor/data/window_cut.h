#pragma once

// Which windows selected documents become.
//   Packing::kNone    each window holds window_tokens real tokens of one
//                     document; nothing is appended, nothing crosses documents
//   Packing::kShared  pieces of documents follow one another without a gap and
//                     are cut into windows; a second tensor says where each
//                     document begins
// Either way every document gives its first piece before any gives its second:
// few windows come from many documents.

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "contributor/data/selection.h"
#include "contributor/data/token_store.h"
#include "contributor/data/window_file.h"

namespace tributary::contributor {

struct WindowCutOptions {
  Side side = Side::kTrain;
  SelectionOptions selection;
  int64_t max_windows_per_document = 0;  // 0 for all
};

class WindowCut {
 public:
  // Plans from the numbers of tokens alone; `selection` is used by Write too.
  static StatusOr<WindowCut> Plan(Selection* selection,
                                  const WindowCutOptions& options);

  int64_t windows() const { return total_ / length_; }
  // Documents that windows are taken from; a long one that was read in parts
  // counts once at most.
  int64_t documents() const { return documents_; }
  // Too short for a window.
  int64_t skipped() const { return skipped_; }

  // Writes the windows to tensor `ids` of the file and, when they are shared,
  // the index of its document within its window, from 0, for each token to
  // tensor `owners`. DATA_LOSS when ids are gone from the store.
  Status Write(TokenStore* store, WindowFile* file, size_t ids,
               size_t owners) const;

 private:
  WindowCut(Selection* selection, const WindowCutOptions& options)
      : selection_(selection),
        options_(options),
        length_(options.selection.window_tokens) {}
  // Pieces that a document gives, and tokens in piece `round`.
  int64_t Pieces(int64_t tokens) const;
  int64_t PieceTokens(int64_t tokens, int64_t round) const;
  Status NumberOwners(WindowFile* file, size_t owners) const;

  Selection* selection_;
  WindowCutOptions options_;
  int64_t length_;
  // Where the pieces of each round begin in the sequence of all tokens.
  std::vector<int64_t> round_begins_;
  int64_t total_ = 0;  // tokens in windows
  int64_t documents_ = 0;
  int64_t skipped_ = 0;
};

}  // namespace tributary::contributor
