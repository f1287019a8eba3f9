#include <gtest/gtest.h>

#include <string>

#include "common/manifest/blob_name.h"
#include "common/manifest/resource_name.h"
#include "tests/common/manifest/samples.h"

namespace tributary::manifest {
namespace {

TEST(BlobName, HasOneSpelling) {
  const std::string text = "blobs/sha256/" + Hex('a') + "/123";
  const StatusOr<BlobName> name = BlobName::Parse(text);
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(name->sha256, Hex('a'));
  EXPECT_EQ(name->size, 123u);
  EXPECT_EQ(name->ToString(), text);
  EXPECT_TRUE(BlobName::Parse("blobs/sha256/" + Hex('a') + "/0").ok());
  EXPECT_TRUE(
      BlobName::Parse("blobs/sha256/" + Hex('a') + "/9223372036854775807")
          .ok());
  for (const std::string& bad :
       {std::string(), std::string("blobs/sha256/"), Hex('a'),
        "blobs/sha256/" + Hex('a'), "blobs/sha256/" + Hex('a') + "/",
        "blobs/sha256/" + Hex('A') + "/1", "blobs/sha256/" + Hex('a') + "/01",
        "blobs/sha256/" + Hex('a') + "/-1", "blobs/sha256/" + Hex('a') + "/+1",
        "blobs/sha256/" + Hex('a') + "/1 ", "blobs/sha256/" + Hex('a') + "1/1",
        "blobs/sha512/" + Hex('a') + "/1", "/blobs/sha256/" + Hex('a') + "/1",
        "blobs/sha256/" + Hex('a') + "/9223372036854775808",
        "blobs/sha256/" + Hex('a') + "/99999999999999999999"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(BlobName::Parse(bad).status())) << bad;
  }
}

TEST(ResourceName, Ids) {
  for (const char* id : {"a", "0", "a-b", "site-1", "a--b"}) {
    EXPECT_TRUE(IsValidId(id)) << id;
  }
  EXPECT_TRUE(IsValidId(std::string(63, 'a')));
  for (const char* id : {"", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "é"}) {
    EXPECT_FALSE(IsValidId(id)) << id;
    EXPECT_TRUE(absl::IsInvalidArgument(CheckId("id", id)));
  }
  EXPECT_FALSE(IsValidId(std::string(64, 'a')));
}

TEST(ResourceName, GoesBothWays) {
  for (const Collection collection :
       {Collection::kContributions, Collection::kContributors,
        Collection::kAnchors, Collection::kWithdrawals}) {
    const std::string name = ResourceName(collection, "some-id");
    EXPECT_EQ(*ParseResourceName(collection, name), "some-id");
    EXPECT_FALSE(ParseResourceName(collection, "some-id").ok());
    EXPECT_FALSE(ParseResourceName(collection, name + "/x").ok());
    EXPECT_FALSE(ParseResourceName(collection, "x" + name).ok());
    EXPECT_FALSE(ParseResourceName(collection, name.substr(0, 8)).ok());
  }
  const Status status =
      ParseResourceName(Collection::kAnchors, "contributors/a").status();
  EXPECT_EQ(status.message(),
            "name: got \"contributors/a\", wanted anchors/{id}");
}

TEST(ResourceName, Releases) {
  EXPECT_EQ(ReleaseName(12), "releases/12");
  EXPECT_EQ(*ParseReleaseName("releases/12"), 12);
  EXPECT_EQ(*ParseResourceName(Collection::kReleases, "releases/latest"),
            "latest");
  EXPECT_EQ(*ParseResourceName(Collection::kReleases, "releases/7"), "7");
  for (const char* name :
       {"releases/0", "releases/01", "releases/-1", "releases/+1", "releases/",
        "releases/1x", "releases/99999999999999999999", "release/1", "1"}) {
    EXPECT_FALSE(ParseReleaseName(name).ok()) << name;
    EXPECT_FALSE(ParseResourceName(Collection::kReleases, name).ok()) << name;
  }
  EXPECT_FALSE(ParseReleaseName("releases/latest").ok());
}

}  // namespace
}  // namespace tributary::manifest
