#pragma once

// The loss of a student that follows a teacher's most likely tokens and, mixed
// in, the text. T tokens, D width, V vocabulary, J kept teacher tokens.

#include "ATen/ATen.h"

namespace tributary::contributor {

// What the teacher says about T positions.
struct TeacherTargets {
  at::Tensor ids_TJ;  // int64, distinct within a row
  // log q of those ids, fp32.
  at::Tensor log_q_TJ;
  // log of the mass of all other ids, fp32 [T].
  at::Tensor log_tail_T;
};

enum class DistillationForm {
  // The teacher's true probabilities, and one bucket for the rest:
  // sum_j q_j (log q_j - log p_j) + q_rest (log q_rest - log p_rest).
  kTail,
  // q renormalised over the kept ids, p over the whole vocabulary.
  kRenormalised,
};

struct DistillationOptions {
  DistillationForm form = DistillationForm::kTail;
  // loss = text_share CE + (1 - text_share) KL.
  double text_share = 0.5;
};

// The mean loss over T positions, nats, for the head [V, D] applied to `hidden`
// [T, D]; targets_T int64. The head is frozen: gradients reach hidden only.
// Both losses share one product for the logits and one for the gradient, which
// overwrites the logits; one chunk of logits is held at a time. fp32 on the CPU
// goes through loops of its own, everything else through LibTorch operators.
at::Tensor DistillationLoss(const at::Tensor& hidden_TD,
                            const at::Tensor& head_VD,
                            const at::Tensor& targets_T,
                            const TeacherTargets& teacher,
                            const DistillationOptions& options);

}  // namespace tributary::contributor
