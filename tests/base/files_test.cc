#include "drop/base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "drop/base/error.h"
#include "drop/base/sha256.h"
#include "support/paths.h"

namespace drop {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names_in(const std::filesystem::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// the message of the error that a call must throw
template <class ErrorType, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const ErrorType& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(RequireWritable, SaysBeforehandWhatAWriteWouldSay) {
  const testing::TemporaryFolder folder;
  require_writable(folder.file("new"));
  write_file_atomically(folder.file("old"), std::string_view("stays"));
  require_writable(folder.file("old"));
  EXPECT_EQ(read_text_file(folder.file("old")), "stays");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("old"));
  const auto refused = [](const std::string& path, const std::string& reason) {
    const std::string message = message_of<RunError>([&] { require_writable(path); });
    EXPECT_THAT(message, HasSubstr(path));
    EXPECT_THAT(message, HasSubstr(reason));
  };
  refused(folder.file("missing/new"), "No such file");
  refused(folder.file("old/new"), "Not a directory");
  refused(folder.path(), "folder");
}

TEST(AtomicWrite, WritesAndReplacesExactBytes) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("file");
  const std::string binary("a\0b\r\n\xff", 6);
  write_file_atomically(path, binary);
  EXPECT_EQ(read_text_file(path), binary);
  EXPECT_EQ(read_file(path).size(), 6u);
  write_file_atomically(path, std::string_view("new"));
  EXPECT_EQ(read_text_file(path), "new");
  write_file_atomically(path, std::string_view(""));
  EXPECT_EQ(read_text_file(path), "");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
}

TEST(AtomicWrite, TakesANameWithoutAFolder) {
  const testing::TemporaryFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  write_file_atomically("plain", std::string_view("text"));
  std::filesystem::current_path(before);
  EXPECT_EQ(read_text_file(folder.file("plain")), "text");
}

TEST(AtomicWrite, AFolderInTheWayIsRefusedAndLeavesNothing) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("target");
  std::filesystem::create_directories(path + "/inside");
  EXPECT_THAT(message_of<RunError>([&] { write_file_atomically(path, std::string_view("x")); }),
              HasSubstr(path));
  EXPECT_THAT(names_in(folder.path()), ElementsAre("target"));
  EXPECT_THAT(names_in(path), ElementsAre("inside"));
}

TEST(AtomicWrite, AMissingFolderAndAFileAsFolderAreNamed) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.file("file"), std::string_view("x"));
  for (const std::string& path : {folder.file("missing/file"), folder.file("file/below")}) {
    EXPECT_THAT(message_of<RunError>([&] { write_file_atomically(path, std::string_view("x")); }),
                HasSubstr(path));
  }
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
  EXPECT_EQ(read_text_file(folder.file("file")), "x");
}

// root may write anywhere: while this lives, such a process is an ordinary user
class OrdinaryUser {
 public:
  OrdinaryUser() {
    if (root_) switched_ = ::seteuid(kNobody) == 0;
  }
  ~OrdinaryUser() {
    if (switched_ && ::seteuid(0) != 0) std::abort();
  }
  OrdinaryUser(const OrdinaryUser&) = delete;
  OrdinaryUser& operator=(const OrdinaryUser&) = delete;

 private:
  static constexpr uid_t kNobody = 65534;
  bool root_ = ::geteuid() == 0;
  bool switched_ = false;
};

TEST(AtomicWrite, AFolderWithoutPermissionKeepsTheOldFile) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("file");
  write_file_atomically(path, std::string_view("old"));
  ASSERT_EQ(::chmod(folder.path().c_str(), 0555), 0);
  {
    const OrdinaryUser user;
    EXPECT_THAT(message_of<RunError>([&] { write_file_atomically(path, std::string_view("new")); }),
                HasSubstr(path));
  }
  EXPECT_EQ(read_text_file(path), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
  ASSERT_EQ(::chmod(folder.path().c_str(), 0700), 0);
}

// while it lives no file of this process may grow beyond `bytes`, as on a full disk
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, SIG_DFL);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

TEST(AtomicWrite, AWriteThatFailsHalfWayKeepsTheOldFile) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("file");
  write_file_atomically(path, std::string_view("old"));
  const std::string large(1 << 20, 'x');
  std::string message;
  {
    const FileSizeLimit limit(100000);
    message = message_of<RunError>([&] { write_file_atomically(path, large); });
  }
  EXPECT_THAT(message, HasSubstr(path));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  EXPECT_EQ(read_text_file(path), "old");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file"));
}

// a process of another machine with our number, on a shared file system
TEST(AtomicWrite, AnothersTemporaryFileStays) {
  const testing::TemporaryFolder folder;
  const std::string name = "file.tmp." + std::to_string(::getpid());
  std::ofstream(folder.file(name)) << "another's";
  std::ofstream(folder.file(name + ".1")) << "another's";
  require_writable(folder.file("file"));
  write_file_atomically(folder.file("file"), std::string_view("ours"));
  EXPECT_EQ(read_text_file(folder.file("file")), "ours");
  EXPECT_THAT(names_in(folder.path()), ElementsAre("file", name, name + ".1"));
  EXPECT_EQ(read_text_file(folder.file(name)), "another's");
}

TEST(AtomicWrite, AReaderNeverSeesAHalf) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("file");
  const std::string contents[] = {std::string(200000, 'a'), std::string(1000, 'b')};
  write_file_atomically(path, contents[0]);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (int i = 0; i < 100; ++i) write_file_atomically(path, contents[i % 2]);
    done = true;
  });
  int torn = 0;
  while (!done) {
    const std::string seen = read_text_file(path);
    torn += seen != contents[0] && seen != contents[1];
  }
  writer.join();
  EXPECT_EQ(torn, 0);
}

TEST(RemoveLeftovers, TakesOnlyTemporaryFilesOfProcessesThatAreGone) {
  const testing::TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  const std::string gone = std::to_string(child);
  const std::vector<std::string> names = {"a.json.tmp." + gone,
                                          "a.json.tmp." + std::to_string(::getpid()),
                                          "a.json.tmp." + gone + ".2",
                                          "b.json.tmp." + gone + ".",
                                          "b.json.tmp." + gone + ".x",
                                          "b.json.tmp.1",
                                          "c.json.tmp.",
                                          "d.tmp.x" + gone,
                                          "tmp." + gone};
  for (const std::string& name : names) std::ofstream(folder.file(name)) << "half";
  remove_leftovers(folder.path());
  EXPECT_THAT(
      names_in(folder.path()),
      UnorderedElementsAre("b.json.tmp.1", "b.json.tmp." + gone + ".", "b.json.tmp." + gone + ".x",
                           "c.json.tmp.", "d.tmp.x" + gone, "tmp." + gone));
  EXPECT_NO_THROW(remove_leftovers(folder.path() / "missing"));
}

TEST(ReadFile, RefusesWhatIsNoReadableFile) {
  const testing::TemporaryFolder folder;
  for (const std::string& path : {folder.file("missing"), folder.path().string()}) {
    EXPECT_THAT(message_of<DataError>([&] { read_file(path); }), HasSubstr(path));
    EXPECT_THAT(message_of<DataError>([&] { read_text_file(path); }), HasSubstr(path));
  }
}

TEST(ReadFile, DoesNotWaitForAPipeNorTakeMemoryForHoles) {
  const testing::TemporaryFolder folder;
  const std::string pipe = folder.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(message_of<DataError>([&] { read_file(pipe); }), HasSubstr(pipe));
  EXPECT_THAT(message_of<DataError>([&] { sha256_of_file(pipe); }), HasSubstr(pipe));
  const std::string holes = folder.file("holes");
  std::ofstream(holes) << "";
  std::filesystem::resize_file(holes, uint64_t{1} << 42);
  EXPECT_THAT(message_of<DataError>([&] { read_file(holes); }),
              ::testing::AllOf(HasSubstr(holes), HasSubstr("memory")));
}

TEST(CreateFolders, MakesParentsAndAcceptsWhatIsThere) {
  const testing::TemporaryFolder folder;
  create_folders(folder.path() / "a" / "b c");
  create_folders(folder.path() / "a" / "b c");
  EXPECT_TRUE(std::filesystem::is_directory(folder.path() / "a" / "b c"));
}

TEST(CreateFolders, AFileInTheWayIsNamed) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.file("file"), std::string_view("x"));
  const std::string path = folder.file("file/below");
  EXPECT_THAT(message_of<RunError>([&] { create_folders(path); }), HasSubstr(path));
}

TEST(FolderLock, ExcludesASecondHolderUntilItIsGone) {
  const testing::TemporaryFolder folder;
  {
    const FolderLock lock(folder.path());
    EXPECT_THAT(message_of<UsageError>([&] { FolderLock second(folder.path()); }),
                HasSubstr(folder.path().string()));
    // another folder is another lock
    const testing::TemporaryFolder other;
    EXPECT_NO_THROW(FolderLock free(other.path()));
  }
  EXPECT_NO_THROW(FolderLock again(folder.path()));
}

TEST(FolderLock, AMissingFolderIsNamed) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.file("missing");
  EXPECT_THAT(message_of<RunError>([&] { FolderLock lock(path); }), HasSubstr(path));
}

// a child process that takes the lock and then waits for its end
class LockHolder {
 public:
  explicit LockHolder(const std::filesystem::path& folder) {
    int ready[2];
    if (::pipe(ready) != 0) return;
    child_ = ::fork();
    if (child_ == 0) {
      try {
        const FolderLock lock(folder);
        if (::write(ready[1], "1", 1) == 1) ::pause();
      } catch (const Error&) {
      }
      ::_exit(7);
    }
    ::close(ready[1]);
    char signal = 0;
    holds_ = ::read(ready[0], &signal, 1) == 1;
    ::close(ready[0]);
  }
  ~LockHolder() { kill(); }
  LockHolder(const LockHolder&) = delete;
  LockHolder& operator=(const LockHolder&) = delete;

  bool holds() const { return holds_; }
  void kill() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

 private:
  pid_t child_ = -1;
  bool holds_ = false;
};

TEST(FolderLock, DiesWithTheProcessThatHoldsIt) {
  const testing::TemporaryFolder folder;
  LockHolder holder(folder.path());
  ASSERT_TRUE(holder.holds());
  EXPECT_THROW(FolderLock lock(folder.path()), UsageError);
  holder.kill();
  // the file stays, the lock does not
  EXPECT_THAT(names_in(folder.path()), ElementsAre("run.lock"));
  const FolderLock lock(folder.path());
  EXPECT_FALSE(LockHolder(folder.path()).holds());
}

TEST(WriteFileAtomically, LinksStayAndOnlyFilesAreReplaced) {
  const testing::TemporaryFolder folder;
  write_file_atomically(folder.path() / "file", "old");
  std::filesystem::create_symlink("file", folder.path() / "link");
  write_file_atomically(folder.path() / "link", "new");
  EXPECT_TRUE(std::filesystem::is_symlink(folder.path() / "link"));
  EXPECT_EQ(read_text_file(folder.path() / "file"), "new");
  // a link to what is not there yet
  std::filesystem::create_symlink("later", folder.path() / "early");
  write_file_atomically(folder.path() / "early", "there");
  EXPECT_EQ(read_text_file(folder.path() / "later"), "there");

  const std::filesystem::path pipe = folder.path() / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THROW(write_file_atomically(pipe, "x"), RunError);
  EXPECT_THROW(require_writable(pipe), RunError);
  EXPECT_THROW(write_file_atomically(folder.path(), "x"), RunError);
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
}

}  // namespace
}  // namespace drop
