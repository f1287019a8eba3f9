#include "contributor/study/study_results.h"

#include <cmath>
#include <fstream>
#include <map>

#include "common/base/files.h"
#include "contributor/pipeline/plan.h"

namespace tributary::contributor {
namespace {

StatusOr<job::Result> ResultOf(const StudyPlan& plan, const StageStore& store,
                               const std::string& name) {
  const Stage* stage = FindStage(plan.stages, name);
  if (stage == nullptr) {
    return Internal("the study has no stage {}", name);
  }
  return store.Result(*stage);
}

StatusOr<std::map<std::string, StudyLoss>> Losses(const StudyPlan& plan,
                                                  const StageStore& store,
                                                  const std::string& name) {
  ASSIGN_OR_RETURN(const job::Result result, ResultOf(plan, store, name));
  std::map<std::string, StudyLoss> losses;
  for (const job::TaskResult& task : result.tasks()) {
    for (const job::ModelLoss& loss : task.evaluate_domain().losses()) {
      losses[loss.label()] = {.mean = loss.log_loss(),
                              .tokens = loss.tokens(),
                              .windows = {loss.window_losses().begin(),
                                          loss.window_losses().end()}};
    }
  }
  return losses;
}

// The losses of a training run, lines of JSON with "step" and "loss".
plot::Series ReadCurve(const std::filesystem::path& path,
                       const std::string& name) {
  plot::Series series{.name = name, .points = {}};
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto value = nlohmann::json::parse(line, nullptr, false);
    if (value.is_object() && value.contains("step") && value.contains("loss") &&
        value["step"].is_number() && value["loss"].is_number()) {
      series.points.push_back(
          {value["step"].get<double>(), value["loss"].get<double>()});
    }
  }
  return series;
}

StatusOr<nlohmann::json> TextFacts(const StudyPlan& plan,
                                   const StageStore& store) {
  nlohmann::json facts;
  for (const char* name : {kStudyText, kStudyGeneralText}) {
    ASSIGN_OR_RETURN(const job::Result result, ResultOf(plan, store, name));
    const job::PrepareTextResult& text = result.tasks(0).prepare_text();
    facts[name] = {{"train_documents", text.train_documents()},
                   {"train_tokens", text.train_tokens()},
                   {"heldout_documents", text.heldout_documents()},
                   {"heldout_tokens", text.heldout_tokens()}};
  }
  return facts;
}

}  // namespace

std::optional<double> StudyResults::Retention(const StudyLoss& loss) const {
  const double gain = anchor.mean - full.mean;
  if (!(gain > 0)) {
    return std::nullopt;
  }
  return (anchor.mean - loss.mean) / gain;
}

double StandardError(const StudyLoss& a, const StudyLoss& b) {
  const size_t n = std::min(a.windows.size(), b.windows.size());
  if (n < 2) {
    return 0;
  }
  double sum = 0;
  double squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double difference = a.windows[i] - b.windows[i];
    sum += difference;
    squares += difference * difference;
  }
  const auto count = static_cast<double>(n);
  const double variance =
      std::max(0.0, (squares - sum * sum / count) / (count - 1));
  return std::sqrt(variance / count);
}

std::vector<StudyOverlap> OverlapOf(
    const job::CompareImportanceResult& result) {
  std::vector<StudyOverlap> overlaps;
  for (const job::LayerOverlap& layer : result.layers()) {
    StudyOverlap& overlap = overlaps.emplace_back();
    overlap.layer = layer.layer();
    overlap.channels = layer.channels();
    overlap.rank_correlation = layer.rank_correlation();
    for (int i = 0; i < layer.tops_size(); ++i) {
      overlap.common.push_back(static_cast<double>(layer.common(i)) /
                               static_cast<double>(layer.tops(i)));
    }
  }
  return overlaps;
}

StatusOr<StudyResults> CollectStudy(const StudyPlan& plan,
                                    const StageStore& store,
                                    int64_t intermediate_size) {
  StudyResults results;
  results.intermediate_size = intermediate_size;
  results.fractions = plan.fractions;
  ASSIGN_OR_RETURN(const auto pruned, Losses(plan, store, kStudyMeasurePruned));
  ASSIGN_OR_RETURN(const auto distilled,
                   Losses(plan, store, kStudyMeasureDistilled));
  const auto find = [](const auto& losses, const std::string& label,
                       StudyLoss* to) -> Status {
    const auto found = losses.find(label);
    if (found == losses.end()) {
      return Internal("the study measured no {}", label);
    }
    *to = found->second;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(find(pruned, "anchor", &results.anchor));
  RETURN_IF_ERROR(find(pruned, "full", &results.full));
  for (const StudyExpert& expert : plan.experts) {
    StudyRow& row = results.rows.emplace_back();
    row.expert = expert;
    RETURN_IF_ERROR(find(pruned, expert.name(), &row.pruned));
    if (expert.distilled) {
      RETURN_IF_ERROR(find(distilled, expert.name(), &row.distilled.emplace()));
      results.curves.push_back(ReadCurve(
          store.Folder(expert.distill_stage()) / "distilled.loss.jsonl",
          "distil " + expert.name()));
    }
  }
  const auto teacher = ReadCurve(
      store.Folder(kStudyTeacher) / "expert.loss.jsonl", "full expert");
  if (!teacher.points.empty()) {
    results.curves.insert(results.curves.begin(), teacher);
  }
  ASSIGN_OR_RETURN(const job::Result overlap,
                   ResultOf(plan, store, kStudyOverlap));
  results.overlaps = OverlapOf(overlap.tasks(0).compare_importance());
  ASSIGN_OR_RETURN(results.text, TextFacts(plan, store));
  for (const Stage& stage : plan.stages) {
    ASSIGN_OR_RETURN(const job::Result result, store.Result(stage));
    double seconds = 0;
    for (const job::TaskResult& task : result.tasks()) {
      seconds += task.seconds();
    }
    results.stage_seconds.emplace_back(stage.name, seconds);
  }
  return results;
}

}  // namespace tributary::contributor
