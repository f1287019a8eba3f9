#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tributary::contributor {

// What `init` may be told about the configuration; everything else stays a
// commented default.
struct ConfigChoices {
  std::string contribution;
  std::vector<std::string> train;
  std::vector<std::string> heldout;
  std::string text_field;
  int64_t width = 0;
  bool prune_and_distil = false;
  bool automatic_approval = false;
  std::optional<uint64_t> seed;
  int epochs = 0;
  int max_train_windows = 0;
  int max_heldout_windows = 0;
  int max_windows_per_document = 0;
  int threads = 0;
  std::string compute_lock_file;
};

// contributor.textproto with a comment for every field.
std::string MakeConfigText(const ConfigChoices& choices);

}  // namespace tributary::contributor
