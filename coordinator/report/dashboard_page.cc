#include "coordinator/report/dashboard_page.h"

#include <algorithm>
#include <map>

#include "common/base/text.h"
#include "coordinator/report/page.h"
#include "coordinator/report/picture.h"
#include "fmt/format.h"

namespace tributary::coordinator {
namespace {

using Rows = std::vector<std::vector<std::string>>;

// In the order that a contribution goes through them.
constexpr const char* kStates[] = {"CREATED",    "UPLOADING",   "SUBMITTED",
                                   "VALIDATING", "QUARANTINED", "ACCEPTED",
                                   "REJECTED",   "WITHDRAWN",   "PURGED"};
constexpr size_t kShownDigest = 12;

std::string When(int64_t time_s) {
  return time_s == 0 ? ""
                     : "<span class=\"when\">" +
                           FormatTime(static_cast<double>(time_s)) + "</span>";
}

std::string State(const std::string& state) {
  const bool good = state == "ACCEPTED" || state == "PUBLISHED";
  const bool bad =
      state == "QUARANTINED" || state == "REJECTED" || state == "FAILED";
  return fmt::format("<span class=\"{}\">{}</span>",
                     good ? "good" : (bad ? "bad" : "soft"),
                     EscapeMarkup(state));
}

// A name without its collection, where the column says which that is.
std::string Id(const std::string& name) {
  return EscapeMarkup(name.substr(name.find('/') + 1));
}

std::string Bytes(int64_t bytes) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes)));
}

// A bar with a name for readers who cannot see it.
std::string ProgressBar(const DashboardFacts::Upload& upload) {
  const int64_t size = std::max<int64_t>(1, upload.size_bytes);
  const int64_t done = std::clamp<int64_t>(upload.committed_bytes, 0, size);
  const auto percent = static_cast<int>(100.0 * static_cast<double>(done) /
                                        static_cast<double>(size));
  return fmt::format(
      "<progress max=\"{}\" value=\"{}\" aria-label=\"{}: {} percent "
      "uploaded\">{}&#160;%</progress> {}&#160;%",
      size, done, EscapeMarkup(upload.contribution), percent, percent, percent);
}

std::vector<std::string> Concerns(const DashboardFacts& facts) {
  std::vector<std::string> concerns;
  for (const auto& contribution : facts.contributions) {
    if (contribution.state == "QUARANTINED") {
      concerns.push_back(fmt::format(
          "{} waits for the operator: {}. `contribution show`, then `accept` "
          "or `reject`.",
          contribution.name, contribution.reason));
    }
  }
  for (const auto& job : facts.jobs) {
    if (job.attempts > 1) {
      concerns.push_back(fmt::format("The job {} {} is tried for the {}. time.",
                                     job.kind, job.subject, job.attempts));
    }
  }
  if (!facts.releases.empty() && facts.releases[0].state == "FAILED") {
    concerns.push_back(fmt::format("{} failed: {}.", facts.releases[0].name,
                                   facts.releases[0].reason));
  }
  for (const std::string& blob : facts.missing_blobs) {
    concerns.push_back(blob +
                       " is needed and not stored: restore it from a backup.");
  }
  return concerns;
}

std::string Lead(const DashboardFacts& facts, const DashboardOptions& options) {
  std::string lead;
  if (!options.problem.empty()) {
    lead += "<p class=\"notice\" role=\"alert\">" +
            EscapeMarkup("This is not the present state: " + options.problem) +
            "</p>\n";
  }
  lead += fmt::format(
      "<p>State of {}{}</p>\n", When(facts.time_s),
      options.refresh_s > 0
          ? fmt::format(", refreshed every {} s. <a href=\"/still\">Stop "
                        "refreshing</a>",
                        options.refresh_s)
          : ". <a href=\"/\">Refresh by itself</a>");
  return lead +
         Tiles({{facts.latest_release.empty() ? "none" : facts.latest_release,
                 "latest release"},
                {std::to_string(facts.accepted), "accepted contributions"},
                {std::to_string(facts.contributors), "contributors"},
                {std::to_string(facts.uploads.size()), "uploads in flight"},
                {std::to_string(facts.jobs.size()), "jobs"},
                {Bytes(facts.blob_bytes), "stored"},
                {std::to_string(facts.audit_records), "audit records"}});
}

std::string Contributions(const DashboardFacts& facts) {
  if (facts.contributions.empty()) {
    return Paragraph("There are none yet.");
  }
  std::map<std::string, int> counts;
  Rows rows;
  for (const auto& contribution : facts.contributions) {
    ++counts[contribution.state];
    rows.push_back({Id(contribution.name), State(contribution.state),
                    Id(contribution.contributor),
                    EscapeMarkup(contribution.reason),
                    When(contribution.update_time_s)});
  }
  BarChart chart{.title = "Contributions by state",
                 .description = "",
                 .labels = {},
                 .series = {"contributions"},
                 .values = {},
                 .unit = "",
                 .digits = 0};
  for (const char* state : kStates) {
    if (counts.contains(state)) {
      chart.labels.emplace_back(state);
      chart.values.push_back(counts[state]);
      chart.description +=
          fmt::format("{}{}: {}", chart.description.empty() ? "" : ", ", state,
                      counts[state]);
    }
  }
  std::string out;
  if (!chart.labels.empty()) {
    out += Figure(ToSvg(chart, PictureUse::kInPage),
                  facts.shortened ? "Of the newest contributions."
                                  : "Of all contributions.");
  }
  return out +
         Table("Contributions, newest first",
               {"contribution", "state", "contributor", "decision", "changed"},
               rows, 5);
}

std::string Uploads(const DashboardFacts& facts) {
  if (facts.uploads.empty()) {
    return Paragraph("Nothing is being uploaded.");
  }
  Rows rows;
  for (const auto& upload : facts.uploads) {
    rows.push_back({Id(upload.contribution), ProgressBar(upload),
                    Bytes(upload.committed_bytes), Bytes(upload.size_bytes),
                    When(upload.expire_time_s)});
  }
  return Table("Unfinished uploads",
               {"contribution", "progress", "durable", "size",
                "given up without progress at"},
               rows, 2);
}

std::string Jobs(const DashboardFacts& facts) {
  if (facts.jobs.empty()) {
    return Paragraph("Nothing waits and nothing runs.");
  }
  Rows rows;
  for (const auto& job : facts.jobs) {
    rows.push_back({EscapeMarkup(job.kind), EscapeMarkup(job.subject),
                    State(job.state), std::to_string(job.attempts)});
  }
  return Table("Jobs that wait or run, oldest first",
               {"job", "works on", "state", "attempts"}, rows, 3);
}

std::string Releases(const DashboardFacts& facts) {
  if (facts.releases.empty()) {
    return Paragraph("There are none yet.");
  }
  Rows rows;
  for (const auto& release : facts.releases) {
    rows.push_back({Id(release.name), State(release.state),
                    "<code>" +
                        EscapeMarkup(release.digest.substr(0, kShownDigest)) +
                        "</code>",
                    When(release.create_time_s), EscapeMarkup(release.reason)});
  }
  return Table("Releases, newest first",
               {"release", "state", "digest", "made", "why"}, rows, 5);
}

std::string Withdrawals(const DashboardFacts& facts) {
  if (facts.withdrawals.empty()) {
    return Paragraph("Nobody has withdrawn anything.");
  }
  Rows rows;
  for (const auto& withdrawal : facts.withdrawals) {
    rows.push_back({Id(withdrawal.name), State(withdrawal.state),
                    Id(withdrawal.contribution),
                    When(withdrawal.create_time_s)});
  }
  return Table("Withdrawals, newest first",
               {"withdrawal", "state", "contribution", "asked for"}, rows, 4);
}

std::string Audit(const DashboardFacts& facts) {
  return Paragraph(fmt::format(
             "The log has {} records. The hash of the newest chains all before "
             "it; whoever keeps it can check later that this history was "
             "continued and not rewritten (`audit verify`).",
             facts.audit_records)) +
         "<p><code>" + EscapeMarkup(facts.audit_head_hash) + "</code></p>\n";
}

}  // namespace

std::string DashboardPage(const DashboardFacts& facts,
                          const DashboardOptions& options) {
  Page page{.title = "Federation " + facts.federation,
            .lead = Lead(facts, options),
            .sections = {}};
  if (const auto concerns = Concerns(facts); !concerns.empty()) {
    page.sections.push_back(
        {"attention", "Needs attention", BulletList(concerns)});
  }
  page.sections.push_back(
      {"contributions", "Contributions", Contributions(facts)});
  page.sections.push_back({"uploads", "Uploads in flight", Uploads(facts)});
  page.sections.push_back({"jobs", "Jobs", Jobs(facts)});
  page.sections.push_back({"releases", "Releases", Releases(facts)});
  page.sections.push_back({"withdrawals", "Withdrawals", Withdrawals(facts)});
  page.sections.push_back({"audit", "Audit log", Audit(facts)});
  if (facts.shortened) {
    page.lead += Paragraph("Only the newest of each kind are shown.");
  }
  return ToHtml(page);
}

}  // namespace tributary::coordinator
