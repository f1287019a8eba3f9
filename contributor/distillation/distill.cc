#include "contributor/distillation/distill.h"

#include "common/crypto/digest.h"
#include "contributor/distillation/teacher_cache.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr double kTeacherProgress = 0.2;

model::CausalLm TwoExpertModel(const model::CausalLm& anchor) {
  model::CausalLm lm = anchor;
  lm.top_k = 2;
  lm.renormalise = model_format::MergedNormTopkProb(anchor.config);
  return lm;
}

// SHA-256 over what the teacher's answers depend on.
StatusOr<std::string> TeacherFingerprint(const model::CausalLm& anchor,
                                         const DistillTask& task) {
  crypto::Sha256 digest;
  digest.Update(fmt::format("1|{}|{}|", kTeacherTokens, task.data.first_layer));
  ASSIGN_OR_RETURN(const std::string frozen, model::DigestFrozen(anchor));
  digest.Update(frozen);
  for (const auto& path :
       {task.teacher_path, task.initial.router_path, task.data.tokens_path}) {
    ASSIGN_OR_RETURN(const auto file, crypto::DigestFile(path));
    digest.Update(file.sha256);
  }
  return digest.Hex();
}

}  // namespace

StatusOr<TrainingOutcome> Distill(const model::CausalLm& anchor,
                                  const DistillTask& task) {
  const double share = task.distillation.text_share;
  if (!(share >= 0 && share <= 1)) {
    return InvalidArgument("text_share: got {}, wanted 0 to 1", share);
  }
  ASSIGN_OR_RETURN(const TrunkWindows train,
                   LoadTrunkWindows(task.data, "train", anchor));
  ASSIGN_OR_RETURN(const TrunkWindows heldout,
                   LoadTrunkWindows(task.data, "heldout", anchor));
  ASSIGN_OR_RETURN(const std::string fingerprint,
                   TeacherFingerprint(anchor, task));
  const auto make_cache = [&]() -> StatusOr<TeacherCache> {
    model::CausalLm teacher = TwoExpertModel(anchor);
    ASSIGN_OR_RETURN(model::Expert expert,
                     model::LoadExpert(anchor.config, task.teacher_path,
                                       task.initial.router_path,
                                       {.device = anchor.device()}));
    RETURN_IF_ERROR(model::AttachExpert(teacher, std::move(expert)));
    return TeacherCache::Make(
        teacher, train, task.cache_path, fingerprint, [&](double fraction) {
          return task.trainer.report(kTeacherProgress * fraction,
                                     "asking the teacher");
        });
  };
  ASSIGN_OR_RETURN(const TeacherCache cache, make_cache());
  model::CausalLm student = TwoExpertModel(anchor);
  ASSIGN_OR_RETURN(model::Expert expert,
                   MakeInitialExpert(anchor, task.initial));
  RETURN_IF_ERROR(model::AttachExpert(student, std::move(expert)));
  TrainerOptions options = task.trainer;
  options.loss_description =
      fmt::format("distillation|{}|{}|{}", fingerprint,
                  static_cast<int>(task.distillation.form), share);
  options.report = [&](double fraction, const std::string& message) {
    return task.trainer.report(
        kTeacherProgress + (1 - kTeacherProgress) * fraction, message);
  };
  return TrainExpert(
      student, train, heldout,
      [&](const WindowBatch& batch, const Tensor& hidden_TD) {
        return DistillationLoss(hidden_TD, student.head_VD, batch.targets_T,
                                cache.Take(batch.windows), task.distillation);
      },
      options);
}

}  // namespace tributary::contributor
