#pragma once

// Which documents windows are taken from, in what order: on disk, so that it
// may be longer than memory.

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace SQLite {
class Database;
class Statement;
}  // namespace SQLite

namespace tributary::contributor {

enum class Side { kTrain = 0, kHeldOut = 1 };

struct SelectionOptions {
  int64_t window_tokens = 256;
  // Whether documents share windows (then short ones count too).
  enum class Packing { kNone, kShared } packing = Packing::kNone;
  // Windows wanted of each side, 0 for all.
  std::array<int64_t, 2> max_windows = {0, 0};
};

// A document, or a part of a long one.
struct SelectedDocument {
  std::string digest;  // SHA-256 of its text, 32 bytes: the order
  bool first_part = true;
  int64_t tokens = 0;
};

// The documents with the smallest digests that fill the windows: a function of
// the set of documents that were added, whatever their order.
class Selection {
 public:
  // Keeps its rows in a new file at `path`, which is removed with the object.
  static StatusOr<std::unique_ptr<Selection>> Create(
      const std::filesystem::path& path, const SelectionOptions& options);
  ~Selection();

  // Notes that the document may not be used for training.
  Status Exclude(std::string_view digest);
  StatusOr<bool> IsExcluded(std::string_view digest);

  // Whether the document could still count, so that its tokens are needed.
  bool Wants(Side side, std::string_view digest) const;

  // `source` is the digest of the first part of the same document. A document
  // that is there already changes nothing.
  Status Add(Side side, std::string_view digest, std::string_view source,
             int64_t tokens);

  // Makes sure that neither side is empty when there are two documents (or
  // parts) with windows: for text whose sides go by SideOf.
  Status Balance();

  // Calls `visit` with what counts on a side, by ascending digest, until the
  // windows are full. Documents without a window of their own are left out and
  // counted in `skipped`.
  Status ForEach(Side side, int64_t* skipped,
                 const std::function<Status(const SelectedDocument&)>& visit);

 private:
  // The smallest digests that are enough, with what each adds.
  struct Least {
    std::map<std::string, int64_t, std::less<>> kept;
    int64_t sum = 0;
  };
  struct Statements;
  Selection(std::filesystem::path path, const SelectionOptions& options,
            std::unique_ptr<SQLite::Database> database);
  // Windows (or, shared, tokens) that a document adds in the first round.
  int64_t Share(int64_t tokens) const;
  int64_t OneWindow() const;  // in the same unit
  int64_t Needed(Side side) const;
  Status Move(Side from, bool lowest);

  const std::filesystem::path path_;
  const SelectionOptions options_;
  std::unique_ptr<SQLite::Database> database_;
  std::unique_ptr<Statements> statements_;
  std::array<Least, 2> least_;
  std::array<int64_t, 2> usable_ = {0, 0};
  std::string first_source_;
  bool several_sources_ = false;
};

// The side of a document in text that is split by digest: the lowest eighth is
// held out. A document stays on its side when others come and go.
Side SideOf(std::string_view digest);

}  // namespace tributary::contributor
