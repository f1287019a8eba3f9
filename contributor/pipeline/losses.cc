#include "contributor/pipeline/losses.h"

namespace tributary::contributor {
namespace {

// The label of a task that measures one model.
std::string LabelOf(const job::ModelSource& model) {
  return model.expert_paths().empty() ? "anchor" : "own";
}

}  // namespace

StatusOr<std::vector<MeasuredLoss>> CollectLosses(const job::Job& job,
                                                  const job::Result& result) {
  std::vector<MeasuredLoss> losses;
  if (job.tasks_size() < 2 || result.tasks_size() != job.tasks_size()) {
    return Internal("evaluation: got {} results, wanted {}",
                    result.tasks_size(), job.tasks_size());
  }
  // Where each model lies is told apart by the anchor of the first task.
  const std::string& anchor = job.tasks(0).evaluate_domain().model_directory();
  for (int t = 0; t < job.tasks_size(); ++t) {
    const job::Task& task = job.tasks(t);
    const job::TaskResult& found = result.tasks(t);
    if (task.has_compare_rows()) {
      continue;
    }
    const bool single = task.has_model_evaluate();
    const job::EvaluationResult& evaluation =
        single ? found.model_evaluate() : found.evaluate_domain();
    const int wanted = single ? 1 : task.evaluate_domain().models_size();
    if (evaluation.losses_size() != wanted) {
      return Internal("evaluation task {}: got {} losses, wanted {}", t,
                      evaluation.losses_size(), wanted);
    }
    for (int m = 0; m < wanted; ++m) {
      const job::ModelLoss& loss = evaluation.losses(m);
      std::string label = loss.label();
      if (single) {
        const job::ModelSource& model = task.model_evaluate().model();
        label = model.directory() == anchor ? LabelOf(model) : "release";
      }
      losses.push_back({.text = t == 0 ? "own" : "public",
                        .model = std::move(label),
                        .log_loss = loss.log_loss(),
                        .tokens = loss.tokens()});
    }
  }
  return losses;
}

const MeasuredLoss* FindLoss(const std::vector<MeasuredLoss>& losses,
                             std::string_view text, std::string_view model) {
  for (const MeasuredLoss& loss : losses) {
    if (loss.text == text && loss.model == model) {
      return &loss;
    }
  }
  return nullptr;
}

}  // namespace tributary::contributor
