#pragma once

// A worker and a coordinator that live in the test.

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/jobs/job_file.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/pipeline/plan.h"
#include "contributor/pipeline/worker_runner.h"
#include "gtest/gtest.h"
#include "tests/contributor/egress/egress_fixture.h"

namespace tributary::contributor {

// Leaves the files and results that the real worker would.
class FakeWorker : public WorkerRunner {
 public:
  StatusOr<job::Result> Run(const job::Job& job,
                            const ProgressSink& on_progress) override {
    const std::filesystem::path folder = job.output_directory();
    runs.push_back(folder.filename().string());
    jobs.push_back(job);
    RETURN_IF_ERROR(MakeDirectories(folder));
    RETURN_IF_ERROR(jobs::WriteJob(job, folder / jobs::kJobFileName));
    if (folder.filename() == fail_at) {
      fail_at.clear();
      return Internal("the worker was ended by signal 9");
    }
    job::Result result;
    for (const job::Task& task : job.tasks()) {
      *result.add_tasks() = Do(task, folder);
    }
    if (on_progress) {
      on_progress(job::Progress());
    }
    RETURN_IF_ERROR(jobs::WriteResult(result, folder / jobs::kResultFileName));
    return result;
  }

  std::vector<std::string> runs;
  std::vector<job::Job> jobs;
  // The stage that is killed once.
  std::string fail_at;
  unsigned char fill = 0x3c;

 private:
  static void Touch(const std::filesystem::path& path) {
    ASSERT_TRUE(WriteFileAtomic(path, "x").ok());
  }

  job::TaskResult Do(const job::Task& task,
                     const std::filesystem::path& folder) const {
    job::TaskResult result;
    if (task.has_prepare_text()) {
      Touch(folder / kTokensFile);
      result.mutable_prepare_text()->set_train_documents(20);
      result.mutable_prepare_text()->set_train_tokens(4096);
    } else if (task.has_calibrate()) {
      for (const char* name : {kTrunkFile, kImportanceFile, kActivationsFile}) {
        Touch(folder / name);
      }
      result.mutable_calibrate();
    } else if (task.has_fit_router()) {
      Touch(folder / kRouterFile);
      Touch(folder / kRouterUnfoldedFile);
      result.mutable_fit_router();
    } else if (task.has_train()) {
      Touch(folder / kTrainedFile);
      result.mutable_train()->set_steps(8);
    } else if (task.has_prune()) {
      Touch(folder / kPrunedFile);
      result.mutable_prune();
    } else if (task.has_distill()) {
      Touch(folder / kDistilledFile);
      result.mutable_distill()->set_steps(8);
    } else if (task.has_export_expert()) {
      WriteTestExpert(folder / kExportFile, 64, fill);
      result.mutable_export_expert();
    } else if (task.has_compare_rows()) {
      job::CompareRowsResult* rows = result.mutable_compare_rows();
      rows->set_mean_best_logit(-1.5);
      rows->add_rows()->set_contribution("neighbour");
    } else {
      const job::EvaluateDomain& evaluate = task.evaluate_domain();
      for (const job::LabelledModel& model : evaluate.models()) {
        job::ModelLoss* loss = result.mutable_evaluate_domain()->add_losses();
        loss->set_label(model.label());
        loss->set_log_loss(model.label() == "anchor" ? 5.0 : 4.5);
        loss->set_tokens(100);
      }
    }
    return result;
  }
};

// Holds what it is sent; decides as it is told.
class FakeCoordinator : public CoordinatorClient {
 public:
  StatusOr<v1::Anchor> GetAnchor(const std::string& /*name*/) override {
    calls.push_back("GetAnchor");
    if (!reachable) {
      return Unavailable("not there");
    }
    return anchor;
  }
  Status Download(const manifest::BlobName& blob, BlobCache& cache,
                  const TransferProgress& /*progress*/) override {
    // Files of one folder are fetched at the same time.
    const std::lock_guard<std::mutex> lock(mutex);
    if (cache.Find(blob).ok()) {
      return absl::OkStatus();
    }
    calls.push_back("Download");
    ASSIGN_OR_RETURN(auto download, cache.Open(blob));
    RETURN_IF_ERROR(
        download.Append(blobs.at(blob.ToString()).substr(download.offset())));
    return download.Finish().status();
  }
  StatusOr<v1::Contribution> CreateContribution(
      const ApprovedUpload& upload) override {
    calls.push_back("Create");
    auto [entry, made] = contributions.try_emplace(upload.contribution());
    v1::Contribution& contribution = entry->second;
    if (made) {
      contribution.set_name("contributions/" + upload.contribution());
      contribution.set_state(v1::Contribution::CREATED);
      contribution.set_manifest_envelope_json(upload.manifest_envelope_json());
    } else if (contribution.manifest_envelope_json() !=
               upload.manifest_envelope_json()) {
      return AlreadyExists("another manifest");
    }
    return contribution;
  }
  Status Upload(const ApprovedUpload& upload,
                const TransferProgress& /*progress*/) override {
    calls.push_back("Upload");
    if (!upload_error.ok()) {
      return std::exchange(upload_error, absl::OkStatus());
    }
    uploaded[upload.contribution()] = upload.blob();
    return absl::OkStatus();
  }
  StatusOr<v1::Contribution> SubmitContribution(
      const std::string& contribution) override {
    calls.push_back("Submit");
    contributions[contribution].set_state(v1::Contribution::SUBMITTED);
    return contributions[contribution];
  }
  StatusOr<v1::Contribution> GetContribution(
      const std::string& contribution) override {
    if (!reachable) {
      return Unavailable("not there");
    }
    const auto found = contributions.find(contribution);
    if (found == contributions.end()) {
      return NotFound("no such contribution");
    }
    return found->second;
  }
  Status WatchContribution(
      const std::string& contribution,
      const std::function<bool(const v1::Contribution&)>& on_change) override {
    calls.push_back("Watch");
    if (!on_change(contributions[contribution])) {
      return absl::OkStatus();
    }
    v1::Contribution decided = decision;
    decided.set_name("contributions/" + contribution);
    contributions[contribution] = decided;
    on_change(decided);
    return absl::OkStatus();
  }
  StatusOr<v1::Withdrawal> WithdrawContribution(
      const std::string& /*contribution*/) override {
    return withdrawal;
  }
  StatusOr<v1::Withdrawal> GetWithdrawal(
      const std::string& /*contribution*/) override {
    return withdrawal;
  }
  StatusOr<v1::Release> GetRelease(const std::string& /*name*/) override {
    return release;
  }
  StatusOr<std::vector<v1::Release>> ListReleases() override {
    return std::vector<v1::Release>{release};
  }
  StatusOr<std::vector<v1::ReleaseExpert>> ListReleaseExperts(
      const std::string& /*name*/) override {
    return experts;
  }
  Status ReportEvaluation(
      const std::string& /*release*/,
      const std::vector<v1::Evaluation>& evaluations) override {
    reported = evaluations;
    return absl::OkStatus();
  }
  StatusOr<v1::RenewCertificateResponse> RenewCertificate(
      const std::string& /*request*/) override {
    return Internal("not asked for in these tests");
  }
  StatusOr<v1::Checkpoint> GetCheckpoint(int64_t /*size*/) override {
    return Internal("not asked for in these tests");
  }

  v1::Anchor anchor;
  std::map<std::string, std::string> blobs;
  std::map<std::string, v1::Contribution> contributions;
  std::map<std::string, manifest::BlobName> uploaded;
  v1::Contribution decision;
  v1::Withdrawal withdrawal;
  v1::Release release;
  std::vector<v1::ReleaseExpert> experts;
  std::vector<v1::Evaluation> reported;
  std::mutex mutex;  // of Download
  std::vector<std::string> calls;
  Status upload_error;
  bool reachable = true;
};

}  // namespace tributary::contributor
