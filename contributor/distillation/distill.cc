#include "contributor/distillation/distill.h"

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "contributor/distillation/teacher_cache.h"
#include "contributor/training/run_fingerprint.h"

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
  digest.Update(fmt::format("2|{}|{}|", kTeacherTokens, task.data.first_layer));
  ASSIGN_OR_RETURN(const std::string frozen, model::DigestFrozen(anchor));
  digest.Update(frozen);
  for (const auto& path :
       {task.teacher_path, task.initial.router_path, task.data.tokens_path}) {
    ASSIGN_OR_RETURN(const auto file, crypto::DigestFile(path));
    digest.Update(file.sha256);
  }
  return digest.Hex();
}

// Training leaves a mark of the anchor beside an expert; one without is checked
// by its shapes when it is loaded.
Status CheckTeacher(const model::CausalLm& anchor,
                    const std::filesystem::path& path) {
  const auto mark = ReadFile(AnchorMark(path), /*max_bytes=*/1024);
  const std::string identity = AnchorIdentity(anchor);
  if (mark.ok() && *mark != identity + "\n") {
    return FailedPrecondition(
        "teacher {}: was trained beside another anchor (identity {}.., this "
        "one is {}..); train a teacher beside this anchor",
        path.string(), mark->substr(0, 12), identity.substr(0, 12));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<TrainingOutcome> Distill(const model::CausalLm& anchor,
                                  const DistillTask& task) {
  const double share = task.distillation.text_share;
  if (!(share >= 0 && share <= 1)) {
    return InvalidArgument("text_share: got {}, wanted 0 to 1", share);
  }
  if (task.trainer.rows.trained) {
    return InvalidArgument(
        "rows: a student keeps its teacher's rows, they cannot be trained");
  }
  RETURN_IF_ERROR(
      CheckNestedWidths(anchor.config, task.trainer.optimizer.nested_widths));
  RETURN_IF_ERROR(CheckTeacher(anchor, task.teacher_path));
  ASSIGN_OR_RETURN(const TrunkWindows train,
                   LoadTrunkWindows(task.data, "train", anchor));
  ASSIGN_OR_RETURN(const TrunkWindows heldout,
                   LoadTrunkWindows(task.data, "heldout", anchor));
  ASSIGN_OR_RETURN(const std::string fingerprint,
                   TeacherFingerprint(anchor, task));
  if (task.cache_is_given && FileSize(task.cache_path).ok() &&
      !TeacherCache::IsOf(task.cache_path, fingerprint)) {
    return FailedPrecondition(
        "{}: holds the answers of another teacher, or to other text; give the "
        "ones that belong to {}, or none",
        task.cache_path.string(), task.teacher_path.string());
  }
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
        TeacherTargets targets = cache.Take(batch.windows);
        if (batch.positions_T.defined()) {
          targets = {.ids_TJ = batch.Select(targets.ids_TJ),
                     .log_q_TJ = batch.Select(targets.log_q_TJ),
                     .log_tail_T = batch.Select(targets.log_tail_T)};
        }
        return DistillationLoss(hidden_TD, student.head_VD, batch.targets_T,
                                targets, task.distillation);
      },
      options);
}

}  // namespace tributary::contributor
