#include "contributor/data/window_cut.h"

#include <algorithm>

namespace tributary::contributor {

int64_t WindowCut::Pieces(int64_t tokens) const {
  const bool shared =
      options_.selection.packing == SelectionOptions::Packing::kShared;
  const int64_t pieces = (tokens + (shared ? length_ - 1 : 0)) / length_;
  return options_.max_windows_per_document > 0
             ? std::min(pieces, options_.max_windows_per_document)
             : pieces;
}

int64_t WindowCut::PieceTokens(int64_t tokens, int64_t round) const {
  return std::min(length_, tokens - round * length_);
}

StatusOr<WindowCut> WindowCut::Plan(Selection* selection,
                                    const WindowCutOptions& options) {
  WindowCut cut(selection, options);
  // Tokens of each round: full pieces as differences, the others one by one.
  std::vector<int64_t> change;
  std::vector<int64_t> rests;
  int64_t first_parts = 0;
  int64_t all = 0;
  RETURN_IF_ERROR(selection->ForEach(
      options.side, &cut.skipped_, [&](const SelectedDocument& document) {
        const auto pieces = static_cast<size_t>(cut.Pieces(document.tokens));
        if (change.size() < pieces + 1) {
          change.resize(pieces + 1);
          rests.resize(pieces + 1);
        }
        const int64_t last =
            cut.PieceTokens(document.tokens, static_cast<int64_t>(pieces) - 1);
        const size_t full = last == cut.length_ ? pieces : pieces - 1;
        change[0] += cut.length_;
        change[full] -= cut.length_;
        if (full < pieces) {
          rests[full] += last;
        }
        first_parts += document.first_part ? 1 : 0;
        ++all;
        return absl::OkStatus();
      }));
  int64_t each_full = 0;
  int64_t sum = 0;
  for (size_t round = 0; round < change.size(); ++round) {
    cut.round_begins_.push_back(sum);
    each_full += change[round];
    sum += each_full + rests[round];
  }
  const int64_t most =
      options.selection.max_windows[static_cast<size_t>(options.side)];
  cut.total_ = sum / cut.length_ * cut.length_;
  if (most > 0) {
    cut.total_ = std::min(cut.total_, most * cut.length_);
  }
  cut.documents_ = cut.total_ == 0 ? 0 : std::max<int64_t>(first_parts, 1);
  return cut;
}

Status WindowCut::Write(TokenStore* store, WindowFile* file, size_t ids,
                        size_t owners) const {
  const bool shared =
      options_.selection.packing == SelectionOptions::Packing::kShared;
  std::vector<int64_t> next = round_begins_;
  std::vector<int32_t> begins;
  int64_t skipped = 0;
  RETURN_IF_ERROR(selection_->ForEach(
      options_.side, &skipped, [&](const SelectedDocument& document) -> Status {
        ASSIGN_OR_RETURN(const auto found, store->Find(document.digest));
        if (!found || static_cast<int64_t>(found->size()) != document.tokens) {
          return DataLoss("token cache: an entry is gone or damaged");
        }
        const int64_t pieces = Pieces(document.tokens);
        for (int64_t round = 0; round < pieces; ++round) {
          const int64_t count = PieceTokens(document.tokens, round);
          int64_t& at = next[static_cast<size_t>(round)];
          const int64_t kept = std::min(count, total_ - at);
          if (kept > 0) {
            const auto piece =
                std::span(*found).subspan(static_cast<size_t>(round * length_),
                                          static_cast<size_t>(kept));
            RETURN_IF_ERROR(file->Write(ids, at, piece));
            if (shared) {
              begins.assign(piece.size(), 0);
              begins[0] = 1;
              RETURN_IF_ERROR(file->Write(owners, at, begins));
            }
          }
          at += count;
        }
        return absl::OkStatus();
      }));
  return shared ? NumberOwners(file, owners) : absl::OkStatus();
}

// Marks of where documents begin become numbers of documents in each window.
Status WindowCut::NumberOwners(WindowFile* file, size_t owners) const {
  std::vector<int32_t> window(static_cast<size_t>(length_));
  for (int64_t at = 0; at < total_; at += length_) {
    RETURN_IF_ERROR(file->Read(owners, at, window));
    window[0] = 0;
    for (size_t i = 1; i < window.size(); ++i) {
      window[i] += window[i - 1];
    }
    RETURN_IF_ERROR(file->Write(owners, at, window));
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor
