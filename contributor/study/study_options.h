#pragma once

// What a width study is asked for.

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// Paths are absolute.
struct StudyOptions {
  std::string model;  // the anchor's directory
  std::vector<std::string> texts;
  std::vector<std::string> general_texts;
  std::vector<std::string> heldout;  // empty: split off `texts`
  std::string text_field;
  int32_t window_tokens = 256;
  int32_t max_windows = 0;               // of each text; 0: all
  int32_t max_windows_per_document = 0;  // 0: all
  // Channels per layer of every narrow expert, descending, distinct.
  std::vector<int64_t> widths;
  // An expert file or a mixture's directory; empty: trained on `texts`.
  std::string teacher;
  int32_t expert_index = 1;
  std::string router;  // empty: fitted, the teacher's own, or rows of zeros
  int32_t first_layer = 0;
  job::Calibrate::Formula formula = job::Calibrate::WINDOW_MEAN;
  // Which narrow experts by general importance are distilled as well.
  enum class Compare { kNone, kNarrowest, kAll } compare = Compare::kNarrowest;
  job::Distill::Form form = job::Distill::TAIL;
  double text_share = 0.5;
  job::Optimizer training;      // of the teacher
  job::Optimizer distillation;  // of the narrow experts
  uint64_t seed = 0;
  int32_t threads = 0;
  std::string device = "cpu";
};

// The anchor as the study needs it.
struct StudyAnchor {
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  bool has_statistics = false;  // public/statistics.safetensors
};

// "75%" or "512" as channels: shares are rounded down to blocks of the anchor.
// INVALID_ARGUMENT for what is neither, for a width that is no multiple of the
// block, and for one that is not below the anchor's.
StatusOr<int64_t> ParseWidth(const std::string& text,
                             int64_t intermediate_size);

}  // namespace tributary::contributor
