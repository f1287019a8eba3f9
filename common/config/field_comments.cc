#include "common/config/field_comments.h"

#include <map>

namespace tributary::config {
namespace {

constexpr size_t kColumns = 78;

// Descriptors in a binary carry no comments, so the files that people edit get
// them from here; a test finds what is missing.
const std::map<std::string_view, std::string_view>& Comments() {
  static const std::map<std::string_view, std::string_view> comments = {
      {"CoordinatorConfig", "Configuration of tributary-coordinator."},
      {"CoordinatorConfig.federation",
       "Name of the federation, a part of every identity. Set by init; it "
       "cannot be changed later."},
      {"CoordinatorConfig.listen_address",
       "Where the server listens, host:port. Port 0 lets the system choose; "
       "the choice is written to the file address in this folder."},
      {"CoordinatorConfig.public_hosts",
       "Host names and addresses that contributors use, one line each; all go "
       "into the server's certificate. localhost and 127.0.0.1 are always "
       "there."},
      {"CoordinatorConfig.public_address",
       "host:port that invitations carry. Empty: the first public host and the "
       "port in use."},
      {"CoordinatorConfig.experts",
       "What experts of this federation look like; published with the anchor."},
      {"CoordinatorConfig.admission",
       "Limits of admission; 0 takes the default."},
      {"CoordinatorConfig.quotas", "Per contributor; 0 takes the default."},
      {"CoordinatorConfig.releases", "When releases are built and refused."},
      {"CoordinatorConfig.worker", "How workers run."},
      {"CoordinatorConfig.purge_grace",
       "Time between withdrawal and purge, such as 15m, 72h or 30d. Empty: at "
       "once."},
      {"CoordinatorConfig.serving", "How the server runs."},
      {"Serving.metrics_address",
       "host:port of plain HTTP for Prometheus, reachable from this machine "
       "only, for example 127.0.0.1:9464. Empty: none."},
      {"Serving.reflection",
       "Answer server reflection, for tools such as grpcurl."},
      {"Serving.max_streams",
       "Open uploads, downloads and watches, of each kind, that one identity "
       "may have."},
      {"ExpertPolicy.first_layer", "Experts live in layers from this one on."},
      {"ExpertPolicy.max_width",
       "Highest width in channels; 0 takes the anchor's FFN width."},
      {"ExpertPolicy.top_k", "Experts chosen per token."},
      {"ExpertPolicy.window_tokens",
       "Window length of public calibration text in tokens."},
      {"ExpertPolicy.windows_per_class", "Windows of public text per class."},
      {"ExpertPolicy.heldout_windows",
       "Windows of the coordinator's held-out text."},
      {"ExpertPolicy.sample_stride",
       "Every n-th token's activations are published."},
      {"Admission.max_public_loss_increase",
       "Highest rise of public log-loss that an expert may cause, in nats per "
       "token."},
      {"Admission.max_public_share",
       "Highest share of public prose that an expert's router rows may "
       "capture, 0 to 1."},
      {"Admission.max_rms_ratio",
       "Highest RMS of a tensor relative to the anchor's own."},
      {"Admission.max_absolute_ratio",
       "Highest absolute value in a tensor relative to the anchor's own."},
      {"Admission.max_row_norm", "Highest norm of a router row."},
      {"Admission.max_output_ratio",
       "Highest norm of the expert's output over that of the anchor's FFN, of "
       "any token of public prose."},
      {"Admission.max_mean_output_ratio",
       "The same on average over public prose."},
      {"Admission.quarantine_above",
       "What passes with a number above this fraction of its limit waits for "
       "the operator, for example 0.8; 0: nothing does."},
      {"Admission.require_operator",
       "An accepted contribution waits for the operator."},
      {"Quotas.max_bytes", "Bytes stored and in flight."},
      {"Quotas.max_contributions", "Contributions that are not withdrawn."},
      {"Quotas.min_free_disk_bytes",
       "Uploads are refused below this much free disk, in bytes."},
      {"ReleasePolicy.build_on_accept",
       "Build a release after every acceptance; otherwise release build does. "
       "Rebuilding after a withdrawal is always automatic."},
      {"ReleasePolicy.max_public_loss_increase",
       "A release that raises public log-loss by more is not published; nats "
       "per token."},
      {"CoordinatorConfig.routing", "How releases route; 0 takes the default."},
      {"Routing.mode",
       "Router of releases that are built without naming one: discriminant, "
       "trained, ridge or tuned (docs/routers.md)."},
      {"Routing.ridge_lambda",
       "ridge: added to the diagonal, as a fraction of its mean element."},
      {"Routing.ridge_temperature",
       "ridge: what logits of rows of norm 1 are divided by."},
      {"Routing.ridge_max_condition",
       "ridge: a layer that is worse conditioned is refused."},
      {"Routing.tuned_learning_rate", "tuned: learning rate."},
      {"Routing.tuned_epochs", "tuned: passes over the windows."},
      {"Routing.tuned_windows_per_domain",
       "tuned: public windows that look like each domain."},
      {"Routing.tuned_load_balance",
       "tuned: weight of the load-balancing loss."},
      {"Routing.tuned_z_loss", "tuned: weight of the z-loss."},
      {"Routing.tuned_seed", "tuned: orders the windows."},
      {"WorkerLimits.threads", "Compute threads; 0 for all cores."},
      {"WorkerLimits.memory_limit_bytes",
       "Address space in bytes; 0 for no limit."},
      {"WorkerLimits.cpu_limit_s", "CPU seconds per job; 0 for no limit."},
      {"WorkerLimits.compute_lock_file",
       "Workers that name the same file run one at a time. Empty: no lock."},
      {"WorkerLimits.executable",
       "The worker's executable. Empty: beside this program."},
      {"WorkerLimits.device", "cpu, cuda or cuda:N. Empty: cpu."},
      {"WorkerLimits.stall_limit_s",
       "Seconds without a word from a worker after which it is ended and its "
       "job tried again."},
      {"ContributorConfig", "Configuration of tributary-contributor."},
      {"ContributorConfig.contribution",
       "Name of the contribution. Empty: the contributor's id."},
      {"ContributorConfig.data",
       "The private text. Only the sandboxed worker opens it."},
      {"ContributorConfig.expert", "The expert to make."},
      {"ContributorConfig.training",
       "Optimizer and schedule; 0 takes the default."},
      {"ContributorConfig.policy",
       "What may leave this site. Wins over whatever the coordinator asks."},
      {"ContributorConfig.worker", "How workers run."},
      {"ContributorConfig.seed",
       "Every random choice of training derives from it."},
      {"Data.train",
       "Files or folders with training text (.txt, .jsonl), one line each."},
      {"Data.heldout",
       "Files or folders with held-out text. Empty: split off the training "
       "documents."},
      {"Data.text_field", "Field of .jsonl lines that holds the text."},
      {"Data.window_tokens",
       "Window length in tokens; 0 takes the anchor's policy."},
      {"Data.max_train_windows", "At most this many windows; 0 for all."},
      {"Data.max_heldout_windows", "At most this many windows; 0 for all."},
      {"Data.max_windows_per_document",
       "At most this many windows of one document; 0 for all."},
      {"Data.share_windows",
       "Short documents share windows instead of being left out; attention "
       "stays within documents."},
      {"Data.public_heldout",
       "Public text whose log-loss is reported beside the own. Empty: the "
       "anchor's public held-out text."},
      {"Expert.width",
       "Channels per layer, a multiple of the anchor's block; 0 takes the "
       "highest that the anchor's policy allows."},
      {"Expert.fraction",
       "Instead of width: the share of the anchor's channels, above 0 and at "
       "most 1."},
      {"Expert.widths",
       "Instead of width: one for every layer of the anchor, one line each; 0 "
       "below first_layer."},
      {"Expert.parameter_budget",
       "Instead of width: the expert's weights in all, spread over layers by "
       "importance unless equal widths do better on held-out text."},
      {"Expert.quality_bound",
       "Instead of width, with PRUNE_AND_DISTIL: the smallest width at which "
       "the pruned teacher is at most this many nats per token worse on "
       "held-out text."},
      {"Expert.rank",
       "With the anchor's own width: layers leave as differences of this rank "
       "to the anchor's network; 0 sends the matrices."},
      {"Expert.unfolded_rows",
       "Rows of router \"logistic\" keep their bias: merges keep a few percent "
       "more of the gain, and formats without a bias fold it at export "
       "(docs/routers.md)."},
      {"Expert.router_statistics",
       "Also send sums over the activations of the own text, for releases with "
       "a ridge router. policy.allow_router_statistics must allow it."},
      {"Expert.recipe",
       "TRAIN keeps the anchor's most important channels and trains them on "
       "the text; PRUNE_AND_DISTIL trains a full-width teacher, prunes it and "
       "distils it."},
      {"Expert.first_layer",
       "The first layer with an expert; 0 takes the anchor's policy."},
      {"Expert.router",
       "How router rows are made: logistic, closed_form, or trained with the "
       "expert (for releases with the router mode trained)."},
      {"Expert.text_share",
       "Share of the text's own cross-entropy in distillation, 0 to 1."},
      {"Expert.distillation_form", "tail or renormalised."},
      {"Training.learning_rate", "Highest learning rate."},
      {"Training.beta1", "AdamW's decay of the mean."},
      {"Training.beta2", "AdamW's decay of the mean square."},
      {"Training.weight_decay", "AdamW's weight decay."},
      {"Training.clip_norm", "Gradients are clipped to this norm."},
      {"Training.warmup_steps", "Steps of linear warm-up."},
      {"Training.final_fraction",
       "Final learning rate as a fraction of the highest (cosine)."},
      {"Training.epochs", "Passes over the training windows."},
      {"Training.windows_per_step", "Windows per optimizer step."},
      {"Training.checkpoint_steps", "Steps between checkpoints."},
      {"Training.schedule",
       "Learning rate behind the warm-up: cosine, constant or linear."},
      {"Training.micro_batch_windows",
       "Windows computed at a time, gradients add up; 0: all of a step."},
      {"Training.validation_steps",
       "Steps between measurements of the held-out text; 0: at the end."},
      {"Training.patience",
       "Training stops behind this many measurements without a new best one "
       "and keeps the best one's weights; 0: never."},
      {"Training.min_improvement",
       "What a new best measurement must gain, nats."},
      {"Training.recompute_activations",
       "Less memory for a third more time, the same result."},
      {"Training.nested_widths",
       "Prefixes of these widths are trained in turn, so that the expert can "
       "be cut to each of them, one line each."},
      {"Training.frozen_storage",
       "How the anchor's weights are kept in memory: float32 or bfloat16."},
      {"SitePolicy.approval",
       "PERSON: a person runs egress approve before anything is uploaded. "
       "AUTOMATIC: the pipeline approves what this policy allows."},
      {"SitePolicy.min_documents", "Refuse corpora of fewer documents."},
      {"SitePolicy.min_tokens", "Refuse corpora of fewer tokens."},
      {"SitePolicy.max_upload_bytes",
       "Refuse to send more bytes; 0 for no limit."},
      {"SitePolicy.required_approvers",
       "Persons who have to approve before anything leaves."},
      {"SitePolicy.approver_keys",
       "PEM files with the approvers' public keys, one line each. When there "
       "are any, an approval needs the private half of one of them."},
      {"SitePolicy.allowed_anchors",
       "Names or digests of the anchors that experts may be made for, one line "
       "each. Empty: any."},
      {"SitePolicy.forbid_statistics",
       "Send no losses, neither in manifests nor about releases."},
      {"SitePolicy.allow_router_statistics",
       "Sums over private activations may leave, where "
       "expert.router_statistics asks for them."},
      {"SitePolicy.version",
       "Version of this policy, written into ledger and reports."},
  };
  return comments;
}

}  // namespace

std::string_view FieldComment(std::string_view full_name) {
  constexpr std::string_view kPackage = "tributary.config.";
  if (!full_name.starts_with(kPackage)) {
    return {};
  }
  const auto found = Comments().find(full_name.substr(kPackage.size()));
  return found == Comments().end() ? std::string_view() : found->second;
}

std::string CommentLines(std::string_view full_name, std::string_view indent) {
  std::string text;
  std::string line;
  const auto flush = [&] {
    if (!line.empty()) {
      text += line + "\n";
      line.clear();
    }
  };
  std::string_view rest = FieldComment(full_name);
  while (!rest.empty()) {
    const size_t space = rest.find(' ');
    const std::string_view word = rest.substr(0, space);
    if (line.size() + 1 + word.size() > kColumns) {
      flush();
    }
    if (line.empty()) {
      line = std::string(indent) + "#";
    }
    line += " ";
    line += word;
    rest = space == std::string_view::npos ? std::string_view()
                                           : rest.substr(space + 1);
  }
  flush();
  return text;
}

}  // namespace tributary::config
