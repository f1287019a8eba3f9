#include "tests/coordinator/service/test_federation.h"

#include <cstring>

#include "common/base/random.h"
#include "common/manifest/invitation.h"
#include "common/manifest/spiffe.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_conversion.h"
#include "tests/coordinator/service/test_expert.h"

namespace tributary::coordinator {
namespace {

constexpr char kFederationName[] = "test";

Status IssuePair(const Home& home, const crypto::CertificateAuthority& ca,
                 const std::string& name, const crypto::LeafOptions& options) {
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  RETURN_IF_ERROR(key.Save(home.key(name)));
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   ca.Issue(key.public_key(), options));
  return WriteFileAtomic(home.certificate(name), certificate.ToPem());
}

std::string Uri(manifest::Role role, const std::string& id) {
  return manifest::Identity{kFederationName, role, id}.ToUri();
}

}  // namespace

void SetStreamDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(120));
}

Stubs::Stubs(const std::shared_ptr<grpc::Channel>& channel)
    : enrolment(v1::EnrolmentService::NewStub(channel)),
      anchors(v1::AnchorService::NewStub(channel)),
      blobs(v1::BlobService::NewStub(channel)),
      contributions(v1::ContributionService::NewStub(channel)),
      releases(v1::ReleaseService::NewStub(channel)),
      admin(v1::AdminService::NewStub(channel)),
      audit(v1::AuditService::NewStub(channel)),
      preflight(v1::PreflightService::NewStub(channel)),
      trust(v1::TrustService::NewStub(channel)) {}

TestFederation::TestFederation(TemporaryDirectory directory,
                               const Settings& settings,
                               Server::Options::Jobs jobs)
    : directory_(std::move(directory)),
      home_(directory_.path() / "home"),
      settings_(settings),
      jobs_(jobs) {
  settings_.federation = kFederationName;
  settings_.listen_address = "127.0.0.1:0";
  settings_.quotas.min_free_disk_bytes = 1;
}

StatusOr<std::unique_ptr<TestFederation>> TestFederation::Create(
    const Settings& settings, Server::Options::Jobs jobs) {
  ASSIGN_OR_RETURN(TemporaryDirectory directory,
                   TemporaryDirectory::Create("federation"));
  std::unique_ptr<TestFederation> federation(
      new TestFederation(std::move(directory), settings, jobs));
  RETURN_IF_ERROR(federation->MakeKeys());
  RETURN_IF_ERROR(
      Database::Open(federation->home_.database(), Database::Mode::kCreate)
          .status());
  RETURN_IF_ERROR(federation->Restart());
  return federation;
}

Status TestFederation::MakeKeys() {
  RETURN_IF_ERROR(MakeDirectories(home_.keys()));
  ASSIGN_OR_RETURN(auto ca,
                   crypto::CertificateAuthority::CreateSelfSigned(
                       kFederationName, 3650 * crypto::kDaySeconds, clock_));
  RETURN_IF_ERROR(ca.key().Save(home_.key("ca")));
  RETURN_IF_ERROR(
      WriteFileAtomic(home_.certificate("ca"), ca.certificate().ToPem()));
  ca_.emplace(std::move(ca));
  constexpr int64_t kYear = 365 * crypto::kDaySeconds;
  RETURN_IF_ERROR(IssuePair(home_, *ca_, "server",
                            {.common_name = "server",
                             .uris = {Uri(manifest::Role::kCoordinator, "")},
                             .hosts = {"localhost", "127.0.0.1"},
                             .usages = {crypto::KeyUsage::kServer},
                             .lifetime_s = kYear}));
  RETURN_IF_ERROR(IssuePair(home_, *ca_, "signer",
                            {.common_name = "signer",
                             .uris = {Uri(manifest::Role::kSigner, "")},
                             .lifetime_s = kYear}));
  return IssuePair(home_, *ca_, "operator",
                   {.common_name = "operator",
                    .uris = {Uri(manifest::Role::kOperator, "op")},
                    .usages = {crypto::KeyUsage::kClient},
                    .lifetime_s = kYear});
}

Status TestFederation::Restart() {
  server_.reset();
  ASSIGN_OR_RETURN(server_,
                   Server::Start({.home = home_.root(),
                                  .settings = settings_,
                                  .clock = clock_,
                                  .version = "test",
                                  .jobs = jobs_},
                                 std::make_unique<FakeTaskRunner>(script_)));
  return ConnectOperator();
}

Status TestFederation::ConnectOperator() {
  ASSIGN_OR_RETURN(const rpc::TlsIdentity identity,
                   rpc::LoadTlsIdentity(home_.certificate("ca"),
                                        home_.certificate("operator"),
                                        home_.key("operator")));
  operator_ = Connect(identity);
  return absl::OkStatus();
}

crypto::PublicKey TestFederation::signer() const {
  return crypto::Certificate::Load(home_.certificate("signer"))->public_key();
}

std::unique_ptr<Stubs> TestFederation::Connect(
    const rpc::TlsIdentity& identity) const {
  return std::make_unique<Stubs>(rpc::CreateChannel(address(), identity));
}

rpc::TlsIdentity TestFederation::anonymous() const {
  return {.ca_certificate_pem = ca_->certificate().ToPem()};
}

StatusOr<std::string> TestFederation::Invite(const std::string& id) {
  v1::CreateInvitationRequest request;
  request.set_request_id(RandomUuid());
  request.set_contributor_id(id);
  ASSIGN_OR_RETURN(const v1::CreateInvitationResponse response,
                   Call<v1::CreateInvitationResponse>(
                       *operator_->admin,
                       &v1::AdminService::Stub::CreateInvitation, request));
  ASSIGN_OR_RETURN(const manifest::Invitation invitation,
                   manifest::Invitation::FromJson(response.invitation_json()));
  return invitation.secret;
}

StatusOr<Owner> TestFederation::Enrol(const std::string& id) {
  ASSIGN_OR_RETURN(const std::string secret, Invite(id));
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  ASSIGN_OR_RETURN(const auto csr, crypto::SigningRequest::Create(key, id));
  v1::EnrolRequest request;
  request.set_request_id(RandomUuid());
  request.set_contributor_id(id);
  request.set_invitation_secret(secret);
  request.set_certificate_signing_request_pem(csr.ToPem());
  const auto stubs = Connect(anonymous());
  ASSIGN_OR_RETURN(
      const v1::EnrolResponse response,
      Call<v1::EnrolResponse>(*stubs->enrolment,
                              &v1::EnrolmentService::Stub::Enrol, request));
  Owner owner{.id = id,
              .key = key,
              .identity = {.ca_certificate_pem = response.ca_certificate_pem(),
                           .certificate_pem = response.certificate_pem(),
                           .private_key_pem = key.ToPem()}};
  owner.stubs = Connect(owner.identity);
  return owner;
}

StatusOr<rpc::TlsIdentity> TestFederation::MakeReader(
    const std::string& id) const {
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  ASSIGN_OR_RETURN(const auto csr, crypto::SigningRequest::Create(key, id));
  v1::IssueReaderCertificateRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("readers/" + id);
  request.set_certificate_signing_request_pem(csr.ToPem());
  ASSIGN_OR_RETURN(
      const v1::ReaderCertificate issued,
      Call<v1::ReaderCertificate>(
          *operator_->admin, &v1::AdminService::Stub::IssueReaderCertificate,
          request));
  return rpc::TlsIdentity{
      .ca_certificate_pem = issued.trust().ca_certificates_pem(0),
      .certificate_pem = issued.certificate_pem(),
      .private_key_pem = key.ToPem()};
}

StatusOr<std::string> TestFederation::PublishAnchor(const std::string& id) {
  const std::filesystem::path fixtures =
      std::filesystem::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";
  v1::PublishAnchorRequest request;
  request.set_request_id(RandomUuid());
  request.set_anchor_id(id);
  request.set_model_directory((fixtures / "tiny_anchor").string());
  for (const auto& [name, file] :
       {std::pair("prose", "public_prose.jsonl"),
        std::pair("heldout", "public_heldout.jsonl")}) {
    v1::PublicText& text = *request.add_public_texts();
    text.set_text_class(name);
    text.set_path((fixtures / "text" / file).string());
  }
  grpc::ClientContext context;
  const auto reader = operator_->admin->PublishAnchor(&context, request);
  v1::PublishAnchorEvent event;
  std::string digest;
  while (reader->Read(&event)) {
    digest = event.anchor().digest();
  }
  RETURN_IF_ERROR(rpc::FromGrpcStatus(reader->Finish()));
  return digest;
}

StatusOr<TestExpert> TestFederation::MakeExpert(const Owner& owner,
                                                const std::string& contribution,
                                                int seed) {
  v1::GetAnchorRequest request;
  request.set_name("anchors/current");
  ASSIGN_OR_RETURN(
      const v1::Anchor anchor,
      Call<v1::Anchor>(*owner.stubs->anchors,
                       &v1::AnchorService::Stub::GetAnchor, request));
  ASSIGN_OR_RETURN(
      const manifest::AnchorManifest manifest,
      manifest::OpenAnchorManifest(anchor.envelope_json(), signer()));
  return MakeTestExpert(manifest, directory_.path(),
                        {.federation = kFederationName,
                         .contributor = owner.id,
                         .contribution = contribution,
                         .seed = seed},
                        owner.key);
}

Status TestFederation::Contribute(const Owner& owner,
                                  const TestExpert& expert) {
  v1::CreateContributionRequest create;
  create.set_request_id(RandomUuid());
  create.set_manifest_envelope_json(expert.envelope_json);
  ASSIGN_OR_RETURN(
      const v1::Contribution contribution,
      Call<v1::Contribution>(*owner.stubs->contributions,
                             &v1::ContributionService::Stub::CreateContribution,
                             create));
  RETURN_IF_ERROR(Upload(*owner.stubs, contribution.name(),
                         expert.manifest.blob, expert.bytes)
                      .status());
  v1::SubmitContributionRequest submit;
  submit.set_request_id(RandomUuid());
  submit.set_name(contribution.name());
  return Call<v1::Contribution>(
             *owner.stubs->contributions,
             &v1::ContributionService::Stub::SubmitContribution, submit)
      .status();
}

Status TestFederation::ContributeAndAdmit(const Owner& owner,
                                          const std::string& contribution,
                                          int seed) {
  ASSIGN_OR_RETURN(const TestExpert expert,
                   MakeExpert(owner, contribution, seed));
  RETURN_IF_ERROR(Contribute(owner, expert));
  return RunJobs();
}

StatusOr<v1::Release> TestFederation::BuildRelease() {
  v1::BuildReleaseRequest request;
  request.set_request_id(RandomUuid());
  ASSIGN_OR_RETURN(
      const v1::Release queued,
      Call<v1::Release>(*operator_->admin,
                        &v1::AdminService::Stub::BuildRelease, request));
  RETURN_IF_ERROR(RunJobs());
  v1::GetReleaseRequest get;
  get.set_name(queued.name());
  return Call<v1::Release>(*operator_->releases,
                           &v1::ReleaseService::Stub::GetRelease, get);
}

StatusOr<v1::Release> TestFederation::GetRelease(const Owner& owner,
                                                 const std::string& name) {
  v1::GetReleaseRequest request;
  request.set_name(name);
  return Call<v1::Release>(*owner.stubs->releases,
                           &v1::ReleaseService::Stub::GetRelease, request);
}

StatusOr<v1::Contribution> TestFederation::GetContribution(
    const Owner& owner, const std::string& id) {
  v1::GetContributionRequest request;
  request.set_name("contributions/" + id);
  return Call<v1::Contribution>(*owner.stubs->contributions,
                                &v1::ContributionService::Stub::GetContribution,
                                request);
}

StatusOr<v1::Withdrawal> TestFederation::Withdraw(const Owner& owner,
                                                  const std::string& id) {
  v1::WithdrawContributionRequest request;
  request.set_request_id(RandomUuid());
  request.set_name("contributions/" + id);
  return Call<v1::Withdrawal>(
      *owner.stubs->contributions,
      &v1::ContributionService::Stub::WithdrawContribution, request);
}

StatusOr<v1::Withdrawal> TestFederation::GetWithdrawal(const Owner& owner,
                                                       const std::string& id) {
  v1::GetWithdrawalRequest request;
  request.set_name("withdrawals/" + id);
  return Call<v1::Withdrawal>(*owner.stubs->contributions,
                              &v1::ContributionService::Stub::GetWithdrawal,
                              request);
}

StatusOr<int64_t> Upload(const Stubs& stubs, const std::string& contribution,
                         const manifest::BlobName& blob,
                         const std::string& bytes, const UploadRange& range) {
  using End = UploadRange::End;
  constexpr size_t kPiece = 64 << 10;
  grpc::ClientContext context;
  SetStreamDeadline(context);
  v1::WriteResponse response;
  const auto writer = stubs.blobs->Write(&context, &response);
  const size_t end = std::min(range.end, bytes.size());
  v1::WriteRequest message;
  message.set_resource_name(blob.ToString());
  message.set_contribution(contribution);
  size_t offset = range.offset;
  do {
    const size_t size = std::min(kPiece, end - offset);
    message.set_write_offset(static_cast<int64_t>(offset));
    message.set_data(bytes.substr(offset, size));
    offset += size;
    message.set_finish_write(offset == end && range.how == End::kFinish);
    if (!writer->Write(message)) {
      break;
    }
    message.Clear();
  } while (offset < end);
  if (range.how == End::kCancel) {
    context.TryCancel();
  } else {
    writer->WritesDone();
  }
  RETURN_IF_ERROR(rpc::FromGrpcStatus(writer->Finish()));
  return response.committed_size();
}

StatusOr<std::string> Download(const Stubs& stubs, const std::string& name,
                               int64_t offset) {
  v1::ReadRequest request;
  request.set_resource_name(name);
  request.set_read_offset(offset);
  grpc::ClientContext context;
  SetStreamDeadline(context);
  const auto reader = stubs.blobs->Read(&context, request);
  v1::ReadResponse chunk;
  std::string bytes;
  while (reader->Read(&chunk)) {
    bytes += chunk.data();
  }
  RETURN_IF_ERROR(rpc::FromGrpcStatus(reader->Finish()));
  return bytes;
}

}  // namespace tributary::coordinator
