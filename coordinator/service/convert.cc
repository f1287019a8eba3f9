#include "coordinator/service/convert.h"

#include "common/manifest/resource_name.h"
#include "coordinator/storage/decision.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ReleaseName;
using manifest::ResourceName;

v1::Decision::Outcome ToProto(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted:
      return v1::Decision::OUTCOME_ACCEPTED;
    case Outcome::kQuarantined:
      return v1::Decision::OUTCOME_QUARANTINED;
    case Outcome::kRejected:
      return v1::Decision::OUTCOME_REJECTED;
    default:
      return v1::Decision::OUTCOME_ERROR;
  }
}

void FillDecision(const Decision& decision, v1::Decision& out) {
  out.set_outcome(ToProto(decision.outcome));
  out.set_reason(decision.reason);
  out.set_decide_time_s(decision.decide_time_s);
  for (const GateResult& gate : decision.gates) {
    v1::GateResult& item = *out.add_gates();
    item.set_gate(gate.gate);
    item.set_passed(gate.passed);
    item.set_detail(gate.detail);
    for (const Measurement& measurement : gate.measurements) {
      v1::Measurement& number = *item.add_measurements();
      number.set_name(measurement.name);
      number.set_value(measurement.value);
      if (measurement.minimum) {
        number.set_minimum(*measurement.minimum);
      }
      if (measurement.maximum) {
        number.set_maximum(*measurement.maximum);
      }
    }
  }
}

// State names are those of the API, so the generated parser maps them.
template <typename Proto>
typename Proto::State StateOf(std::string_view name) {
  typename Proto::State state = Proto::STATE_UNSPECIFIED;
  Proto::State_Parse(std::string(name), &state);
  return state;
}

}  // namespace

v1::Anchor ToProto(const AnchorRow& row) {
  v1::Anchor anchor;
  anchor.set_name(ResourceName(Collection::kAnchors, row.id));
  anchor.set_digest(row.digest);
  anchor.set_manifest_json(row.manifest_json);
  anchor.set_envelope_json(row.envelope_json);
  anchor.set_create_time_s(row.create_time_s);
  return anchor;
}

v1::Contribution ToProto(const ContributionRow& row) {
  v1::Contribution out;
  out.set_name(ResourceName(Collection::kContributions, row.id));
  out.set_contributor(ResourceName(Collection::kContributors, row.contributor));
  out.set_state(StateOf<v1::Contribution>(ToString(row.state)));
  out.set_anchor_digest(row.anchor_digest);
  out.set_manifest_envelope_json(row.envelope_json);
  out.set_create_time_s(row.create_time_s);
  out.set_update_time_s(row.update_time_s);
  if (!row.decision_json.empty()) {
    if (const auto decision = Decision::FromJson(row.decision_json);
        decision.ok()) {
      FillDecision(*decision, *out.mutable_decision());
    }
  }
  if (row.state == ContributionState::kWithdrawn ||
      row.state == ContributionState::kPurged) {
    out.set_withdrawal(ResourceName(Collection::kWithdrawals, row.id));
    out.set_delete_time_s(row.delete_time_s);
    out.set_purge_time_s(row.purge_time_s);
  }
  return out;
}

v1::Contributor ToProto(const ContributorRow& row) {
  v1::Contributor out;
  out.set_name(ResourceName(Collection::kContributors, row.id));
  out.set_state(std::string(ToString(row.state)));
  out.set_create_time_s(row.create_time_s);
  out.set_certificate_expire_time_s(row.certificate_expire_time_s);
  v1::ContributorPolicy& policy = *out.mutable_policy();
  if (row.policy.max_width) {
    policy.set_max_width(*row.policy.max_width);
  }
  if (row.policy.max_bytes) {
    policy.set_max_bytes(*row.policy.max_bytes);
  }
  if (row.policy.max_contributions) {
    policy.set_max_contributions(*row.policy.max_contributions);
  }
  if (row.policy.require_operator) {
    policy.set_require_operator(*row.policy.require_operator);
  }
  return out;
}

v1::Withdrawal ToProto(const WithdrawalRow& row) {
  v1::Withdrawal out;
  out.set_name(ResourceName(Collection::kWithdrawals, row.contribution));
  out.set_contribution(
      ResourceName(Collection::kContributions, row.contribution));
  out.set_state(StateOf<v1::Withdrawal>(ToString(row.state)));
  for (const int64_t number : row.withdrawn_releases) {
    out.add_withdrawn_releases(ReleaseName(number));
  }
  // Named once it is built.
  if (row.new_release && row.state != WithdrawalState::kWithdrawn) {
    out.set_new_release(ReleaseName(*row.new_release));
  }
  out.set_receipt_json(row.receipt_json);
  out.set_final_receipt_json(row.final_receipt_json);
  out.set_create_time_s(row.create_time_s);
  out.set_purge_time_s(row.purge_time_s);
  out.set_requested_by(row.requested_by);
  out.set_reason(row.reason);
  if (row.error_code != 0) {
    out.mutable_last_error()->set_code(row.error_code);
    out.mutable_last_error()->set_message(row.error_message);
  }
  return out;
}

v1::Release ToProto(const ReleaseRow& row,
                    const std::vector<EvaluationRow>& evaluations) {
  v1::Release out;
  out.set_name(ReleaseName(row.number));
  out.set_state(StateOf<v1::Release>(ToString(row.state)));
  out.set_digest(row.digest);
  out.set_create_time_s(row.create_time_s);
  out.set_reason(row.reason);
  if (!row.served()) {
    return out;
  }
  out.set_manifest_json(row.manifest_json);
  out.set_envelope_json(row.envelope_json);
  for (const EvaluationRow& evaluation : evaluations) {
    v1::Evaluation& item = *out.add_evaluations();
    item.set_evaluator(evaluation.evaluator);
    item.set_text_label(evaluation.text_label);
    item.set_model(evaluation.model);
    item.set_log_loss(evaluation.log_loss);
    item.set_tokens(evaluation.tokens);
  }
  return out;
}

StatusOr<v1::Contribution> ReadContribution(Transaction& transaction,
                                            const std::string& id) {
  const auto row = ContributionStore(transaction).Find(id);
  if (!row) {
    return NotFound("contributions/{}: no such contribution", id);
  }
  return ToProto(*row);
}

StatusOr<v1::Withdrawal> ReadWithdrawal(Transaction& transaction,
                                        const std::string& id) {
  const auto row = WithdrawalStore(transaction).Find(id);
  if (!row) {
    return NotFound("withdrawals/{}: no such withdrawal", id);
  }
  return ToProto(*row);
}

StatusOr<v1::Release> ReadRelease(Transaction& transaction, int64_t number) {
  ReleaseStore releases(transaction);
  const auto row = releases.Find(number);
  if (!row) {
    return NotFound("{}: no such release", ReleaseName(number));
  }
  return ToProto(*row, releases.EvaluationsOf(number));
}

}  // namespace tributary::coordinator
