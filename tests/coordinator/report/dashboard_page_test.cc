#include "coordinator/report/dashboard_page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/base/files.h"
#include "fmt/format.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

DashboardFacts Busy() {
  DashboardFacts facts{.federation = "hospitals",
                       .version = "1",
                       .time_s = 1900000000,
                       .contributors = 3,
                       .accepted = 1,
                       .latest_release = "releases/2",
                       .blob_bytes = 1 << 30,
                       .audit_records = 40,
                       .audit_head_hash = std::string(64, 'a')};
  facts.contributions = {
      {"contributions/one", "contributors/a", "ACCEPTED", "every gate passed",
       1900000000},
      {"contributions/two", "contributors/b", "QUARANTINED",
       "public text <rises> & falls", 1900000000},
      {"contributions/three", "contributors/c", "UPLOADING", "", 1900000000}};
  facts.uploads = {{"contributions/three", 1000, 250, 1900000600}};
  facts.jobs = {{"validate", "contributions/two", "RUNNING", 3}};
  facts.releases = {
      {"releases/3", "FAILED", "", "its log-loss rose", 1900000000},
      {"releases/2", "PUBLISHED", std::string(64, 'b'), "", 1890000000}};
  facts.withdrawals = {
      {"withdrawals/w", "contributions/old", "PURGED", 1890000000}};
  facts.missing_blobs = {"blobs/sha256/cc/1"};
  return facts;
}

// Whether the page is well formed, self-contained and accessible.
void ExpectGoodPage(const std::string& html) {
  const auto folder = TemporaryDirectory::Create("dashboard");
  ASSERT_TRUE(folder.ok());
  const auto path = folder->path() / "page.html";
  ASSERT_TRUE(WriteFileAtomic(path, html).ok());
  const std::string command =
      fmt::format("{} {}/tests/coordinator/report/check_page.py {}",
                  TRIBUTARY_PYTHON, TRIBUTARY_SOURCE_DIR, path.string());
  EXPECT_EQ(std::system(command.c_str()), 0);
}

TEST(DashboardPageTest, TellsEverything) {
  const std::string html = DashboardPage(Busy(), {.refresh_s = 10});
  ExpectGoodPage(html);
  for (const char* text :
       {"Federation hospitals", "refreshed every 10 s", "releases/2",
        "two waits for the operator", "public text &lt;rises&gt; &amp; falls",
        "value=\"250\"", "25 percent uploaded", "tried for the 3. time",
        "releases/3 failed: its log-loss rose", "blobs/sha256/cc/1 is needed",
        "bbbbbbbbbbbb", "40 records"}) {
    EXPECT_THAT(html, HasSubstr(text));
  }
  EXPECT_THAT(html, Not(HasSubstr("<rises>")));
}

TEST(DashboardPageTest, AnEmptyFederation) {
  const std::string html = DashboardPage({.federation = "new"}, {});
  ExpectGoodPage(html);
  EXPECT_THAT(html, HasSubstr("There are none yet."));
  EXPECT_THAT(html, Not(HasSubstr("Needs attention")));
  EXPECT_THAT(html, Not(HasSubstr("refreshed every")));
}

TEST(DashboardPageTest, SaysWhenItIsNotOfNow) {
  const std::string html =
      DashboardPage(Busy(), {.problem = "nobody answers <here>"});
  ExpectGoodPage(html);
  EXPECT_THAT(html, HasSubstr("This is not the present state: nobody answers "
                              "&lt;here&gt;"));
}

}  // namespace
}  // namespace tributary::coordinator
