/* Runs a program on a disk that remembers what it was told, loses what was never synced, and fails on demand.
 *
 *   disk ROOT TRACE CONTROL SYNC_MICROSECONDS PROGRAM ARGUMENT...
 *
 * Every system call of the program that changes a file or directory below ROOT is stopped (seccomp user notification:
 * threads, static linking and raw system calls make no difference) and carried out here, one after the other, so that
 * their order is known. Each is written to TRACE: what was written where, which names came and went, and for each sync
 * when it began and when it was answered. A test reads the trace and makes the directories that a loss of power could
 * have left at any place in it (power_cut.rs). No sync reaches the real disk: it is answered after SYNC_MICROSECONDS,
 * while other threads go on.
 *
 * CONTROL is a small text file, "KIND SKIP COUNT GENERATION\n", read before every change. With a new generation the
 * changes are counted from 0; those with numbers from SKIP on fail, COUNT of them. KIND is one of
 *   none     nothing fails
 *   eio      fails with EIO, nothing is done
 *   enospc   fails with ENOSPC, nothing is done
 *   short    a write does its first half and says so; the failing changes after it fail with ENOSPC
 *   sync     only syncs count, and fail with EIO; what they should have synced stays in the file
 * The numbers reached so far, "GENERATION CHANGES FAILED\n", are written to CONTROL.state whenever they change.
 *
 * Anything that would change files unseen (fallocate, copy_file_range, shared writable mappings of files) ends the
 * program: a trace that is not whole proves nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char root[PATH_MAX];
static size_t root_length;
static int trace_fd, control_fd, state_fd, notify_fd, child_fd;
static pid_t child;
static long sync_microseconds;

static void die(const char *what) {
  fprintf(stderr, "disk: %s: %s\n", what, strerror(errno));
  if (child > 0) kill(child, SIGKILL);
  _exit(99);
}

/* --- the trace: u32 length, u8 kind, fields, all little-endian as the machine is ---------------------------------- */

enum { DATA = 1, TRUNCATE, CREATE, MKDIR, RENAME, REMOVE, SYNC_BEGIN, SYNC_END };

static unsigned char *record;
static size_t record_length, record_room;

static void put(const void *bytes, size_t length) {
  if (record_length + length > record_room) {
    record_room = (record_length + length) * 2;
    record = realloc(record, record_room);
    if (!record) die("memory");
  }
  memcpy(record + record_length, bytes, length);
  record_length += length;
}

static void put64(uint64_t value) { put(&value, 8); }

static void put_text(const char *text) {
  uint32_t length = strlen(text);
  put(&length, 4);
  put(text, length);
}

static void begin(unsigned char kind) {
  record_length = 0;
  put("\0\0\0\0", 4);
  put(&kind, 1);
}

/* One write, so that the length of the trace is always a boundary between records. */
static void end(void) {
  uint32_t length = record_length - 4;
  memcpy(record, &length, 4);
  if (write(trace_fd, record, record_length) != (ssize_t)record_length) die("trace");
}

/* --- what shall fail ---------------------------------------------------------------------------------------------- */

static long generation = -1, changes, failed;
static int is_short_open;

/* The error of this change, or 0; -1 for a write that is to be short. */
static int fault(int is_sync, int is_write) {
  char text[128], kind[16];
  long skip, count, now;
  ssize_t length = pread(control_fd, text, sizeof text - 1, 0);
  if (length <= 0) return 0;
  text[length] = 0;
  if (sscanf(text, "%15s %ld %ld %ld", kind, &skip, &count, &now) != 4) return 0;
  if (now != generation) generation = now, changes = 0, failed = 0, is_short_open = 0;
  int only_syncs = !strcmp(kind, "sync");
  if (only_syncs && !is_sync) return 0;
  long number = changes++;
  int fails = strcmp(kind, "none") && number >= skip && number < skip + count;
  if (fails) failed++;
  length = snprintf(text, sizeof text, "%ld %ld %ld\n", generation, changes, failed);
  if (pwrite(state_fd, text, length, 0) != length) die("state");
  if (!fails) return 0;
  if (!strcmp(kind, "eio") || only_syncs) return EIO;
  if (!strcmp(kind, "enospc")) return ENOSPC;
  if (is_write && !is_short_open) {
    is_short_open = 1;
    return -1;
  }
  return ENOSPC;
}

/* --- the program's memory and files ------------------------------------------------------------------------------- */

static void fetch(pid_t thread, uint64_t address, void *into, size_t length) {
  struct iovec local = {into, length}, remote = {(void *)address, length};
  if (process_vm_readv(thread, &local, 1, &remote, 1, 0) != (ssize_t)length) die("process_vm_readv");
}

static void fetch_text(pid_t thread, uint64_t address, char *into) {
  /* Not across a page that may not be there. */
  for (size_t at = 0; at < PATH_MAX;) {
    size_t room = 4096 - ((address + at) & 4095);
    if (room > PATH_MAX - at) room = PATH_MAX - at;
    fetch(thread, address + at, into + at, room);
    if (memchr(into + at, 0, room)) return;
    at += room;
  }
  die("a path without an end");
}

static int below_root(const char *path) {
  return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

/* The path of an argument, absolute. */
static void path_of(pid_t thread, int at, uint64_t address, char *path) {
  char link[64], text[PATH_MAX];
  fetch_text(thread, address, text);
  if (text[0] == '/') {
    strcpy(path, text);
    return;
  }
  if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/%d/cwd", thread);
  else snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, at);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) length = 0;
  path[length] = 0;
  if (strlen(path) + strlen(text) + 2 > PATH_MAX) die("a long path");
  strcat(strcat(path, "/"), text);
}

/* Whether the descriptor is of a file or directory below the root; its path. */
static int tracked(pid_t thread, int fd, char *path) {
  char link[64];
  snprintf(link, sizeof link, "/proc/%d/fd/%d", thread, fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return below_root(path);
}

static int take(int fd) {
  int mine = syscall(SYS_pidfd_getfd, child_fd, fd, 0);
  if (mine < 0) die("pidfd_getfd");
  return mine;
}

static struct stat status_of(int fd) {
  struct stat status;
  if (fstat(fd, &status)) die("fstat");
  return status;
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static void answer(uint64_t id, int64_t value, int error, int goes_on) {
  struct seccomp_notif_resp response = {
    .id = id, .val = value, .error = -error, .flags = goes_on ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0};
  /* A thread that was killed meanwhile waits for no answer. */
  if (ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) && errno != ENOENT) die("NOTIF_SEND");
}

#define LET_IT(id) return answer(id, 0, 0, 1)
#define FAIL(id, why) return answer(id, 0, why, 0)
#define RESULT(id, value) return answer(id, value, 0, 0)

/* --- syncs that are under way ------------------------------------------------------------------------------------- */

struct sync { uint64_t id, number; int error; struct timespec due; };
static struct sync syncs[256];
static int sync_count;
static uint64_t sync_numbers;

static long microseconds_until(const struct timespec *due) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (due->tv_sec - now.tv_sec) * 1000000 + (due->tv_nsec - now.tv_nsec) / 1000;
}

static void answer_syncs(void) {
  int left = 0;
  for (int at = 0; at < sync_count; at++) {
    if (microseconds_until(&syncs[at].due) > 0) {
      syncs[left++] = syncs[at];
      continue;
    }
    if (!syncs[at].error) {
      begin(SYNC_END);
      put64(syncs[at].number);
      end();
    }
    answer(syncs[at].id, 0, syncs[at].error, 0);
  }
  sync_count = left;
}

static void do_sync(uint64_t id, int fd, const char *path) {
  int error = fault(1, 0);
  int mine = take(fd);
  struct stat status = status_of(mine);
  close(mine);
  if (sync_count == 256) errno = 0, die("too many syncs at a time");
  struct sync *sync = &syncs[sync_count++];
  sync->id = id;
  sync->number = sync_numbers++;
  sync->error = error < 0 ? ENOSPC : error;
  clock_gettime(CLOCK_MONOTONIC, &sync->due);
  sync->due.tv_nsec += sync_microseconds * 1000;
  sync->due.tv_sec += sync->due.tv_nsec / 1000000000;
  sync->due.tv_nsec %= 1000000000;
  begin(SYNC_BEGIN);
  put64(sync->number);
  put64(status.st_ino);
  put(S_ISDIR(status.st_mode) ? "\1" : "\0", 1);
  put_text(path);
  end();
}

/* --- changes ------------------------------------------------------------------------------------------------------ */

static void do_write(uint64_t id, pid_t thread, int fd, struct iovec *parts, int count, off_t offset) {
  size_t length = 0;
  for (int at = 0; at < count; at++) length += parts[at].iov_len;
  int error = fault(0, 1);
  if (error > 0) FAIL(id, error);
  unsigned char *bytes = malloc(length + 1);
  if (!bytes) die("memory");
  size_t filled = 0;
  for (int at = 0; at < count; at++) {
    if (parts[at].iov_len) fetch(thread, (uint64_t)parts[at].iov_base, bytes + filled, parts[at].iov_len);
    filled += parts[at].iov_len;
  }
  if (error < 0) length = length > 1 ? length / 2 : length;
  int mine = take(fd);
  struct stat status = status_of(mine);
  off_t place = offset;
  if (place < 0) place = fcntl(mine, F_GETFL) & O_APPEND ? status.st_size : lseek(mine, 0, SEEK_CUR);
  /* Through the descriptor that both share, so that its offset moves. */
  ssize_t written = offset < 0 ? write(mine, bytes, length) : pwrite(mine, bytes, length, offset);
  error = errno;
  close(mine);
  if (written > 0) {
    begin(DATA);
    put64(status.st_ino);
    put64(place);
    put(bytes, written);
    end();
  }
  free(bytes);
  if (written < 0) FAIL(id, error);
  RESULT(id, written);
}

static void do_truncate(uint64_t id, int fd, off_t size) {
  int error = fault(0, 0);
  if (error) FAIL(id, error < 0 ? ENOSPC : error);
  int mine = take(fd);
  struct stat status = status_of(mine);
  int result = ftruncate(mine, size);
  error = errno;
  close(mine);
  if (result) FAIL(id, error);
  begin(TRUNCATE);
  put64(status.st_ino);
  put64(size);
  end();
  RESULT(id, 0);
}

static void do_open(uint64_t id, pid_t thread, int at, uint64_t address, uint64_t flags, uint64_t mode) {
  char path[PATH_MAX];
  struct stat status;
  if (!(flags & (O_CREAT | O_TRUNC))) LET_IT(id);
  path_of(thread, at, address, path);
  if (!below_root(path)) LET_IT(id);
  if ((flags & O_TMPFILE) == O_TMPFILE) errno = 0, die("O_TMPFILE is not traced");
  int existed = !lstat(path, &status);
  if (!existed || (flags & O_TRUNC)) {
    int error = fault(0, 0);
    if (error) FAIL(id, error < 0 ? ENOSPC : error);
  }
  int fd = open(path, flags | O_CLOEXEC, mode);
  if (fd < 0) FAIL(id, errno);
  status = status_of(fd);
  if (!existed) {
    begin(CREATE);
    put64(status.st_ino);
    put_text(path);
    end();
  } else if (flags & O_TRUNC) {
    begin(TRUNCATE);
    put64(status.st_ino);
    put64(0);
    end();
  }
  struct seccomp_notif_addfd give = {
    .id = id, .srcfd = fd, .newfd_flags = flags & O_CLOEXEC, .flags = SECCOMP_ADDFD_FLAG_SEND};
  if (ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &give) < 0 && errno != ENOENT) die("NOTIF_ADDFD");
  close(fd);
}

static void do_mkdir(uint64_t id, pid_t thread, int at, uint64_t address, uint64_t mode) {
  char path[PATH_MAX];
  path_of(thread, at, address, path);
  if (!below_root(path)) LET_IT(id);
  int error = fault(0, 0);
  if (error) FAIL(id, error < 0 ? ENOSPC : error);
  if (mkdir(path, mode)) FAIL(id, errno);
  begin(MKDIR);
  put_text(path);
  end();
  RESULT(id, 0);
}

static void do_rename(uint64_t id, pid_t thread, int at, uint64_t from, int to_at, uint64_t to, uint64_t flags) {
  char old[PATH_MAX], new[PATH_MAX];
  path_of(thread, at, from, old);
  path_of(thread, to_at, to, new);
  if (!below_root(old) && !below_root(new)) LET_IT(id);
  if (flags & ~(uint64_t)RENAME_NOREPLACE) errno = 0, die("this rename is not traced");
  int error = fault(0, 0);
  if (error) FAIL(id, error < 0 ? ENOSPC : error);
  if (renameat2(AT_FDCWD, old, AT_FDCWD, new, flags)) FAIL(id, errno);
  begin(RENAME);
  put_text(old);
  put_text(new);
  end();
  RESULT(id, 0);
}

static void do_remove(uint64_t id, pid_t thread, int at, uint64_t address, int directory) {
  char path[PATH_MAX];
  path_of(thread, at, address, path);
  if (!below_root(path)) LET_IT(id);
  int error = fault(0, 0);
  if (error) FAIL(id, error < 0 ? ENOSPC : error);
  if (directory ? rmdir(path) : unlink(path)) FAIL(id, errno);
  begin(REMOVE);
  put_text(path);
  end();
  RESULT(id, 0);
}

static void untraced(uint64_t id, pid_t thread, int fd, const char *what) {
  char path[PATH_MAX];
  if (!tracked(thread, fd, path)) LET_IT(id);
  errno = 0;
  die(what);
}

static void handle(const struct seccomp_notif *notice) {
  const uint64_t *a = (const uint64_t *)notice->data.args, id = notice->id;
  pid_t thread = notice->pid;
  char path[PATH_MAX];
  struct iovec parts[IOV_MAX];
  switch (notice->data.nr) {
#ifdef SYS_open
  case SYS_open: return do_open(id, thread, AT_FDCWD, a[0], a[1], a[2]);
  case SYS_creat: return do_open(id, thread, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
  case SYS_mkdir: return do_mkdir(id, thread, AT_FDCWD, a[0], a[1]);
  case SYS_rename: return do_rename(id, thread, AT_FDCWD, a[0], AT_FDCWD, a[1], 0);
  case SYS_unlink: return do_remove(id, thread, AT_FDCWD, a[0], 0);
  case SYS_rmdir: return do_remove(id, thread, AT_FDCWD, a[0], 1);
#endif
  case SYS_openat: return do_open(id, thread, a[0], a[1], a[2], a[3]);
  case SYS_mkdirat: return do_mkdir(id, thread, a[0], a[1], a[2]);
#ifdef SYS_renameat
  case SYS_renameat: return do_rename(id, thread, a[0], a[1], a[2], a[3], 0);
#endif
  case SYS_renameat2: return do_rename(id, thread, a[0], a[1], a[2], a[3], a[4]);
  case SYS_unlinkat: return do_remove(id, thread, a[0], a[1], a[2] & AT_REMOVEDIR);
  case SYS_linkat:
    path_of(thread, a[2], a[3], path);
    if (below_root(path)) errno = 0, die("links are not traced");
    LET_IT(id);
  case SYS_write:
  case SYS_pwrite64:
    if (!tracked(thread, a[0], path)) LET_IT(id);
    parts[0] = (struct iovec){(void *)a[1], a[2]};
    return do_write(id, thread, a[0], parts, 1, notice->data.nr == SYS_write ? -1 : (off_t)a[3]);
  case SYS_writev:
    if (!tracked(thread, a[0], path)) LET_IT(id);
    if (a[2] > IOV_MAX) FAIL(id, EINVAL);
    if (a[2]) fetch(thread, a[1], parts, a[2] * sizeof *parts);
    return do_write(id, thread, a[0], parts, a[2], -1);
  case SYS_ftruncate:
    if (!tracked(thread, a[0], path)) LET_IT(id);
    return do_truncate(id, a[0], a[1]);
  case SYS_fsync:
  case SYS_fdatasync:
    if (!tracked(thread, a[0], path)) LET_IT(id);
    return do_sync(id, a[0], path);
  case SYS_pwritev: return untraced(id, thread, a[0], "pwritev is not traced");
  case SYS_pwritev2: return untraced(id, thread, a[0], "pwritev2 is not traced");
  case SYS_fallocate: return untraced(id, thread, a[0], "fallocate is not traced");
  case SYS_sync_file_range: return untraced(id, thread, a[0], "sync_file_range is not traced");
  case SYS_copy_file_range: return untraced(id, thread, a[2], "copy_file_range is not traced");
  case SYS_mmap:
    if (!(a[2] & PROT_WRITE) || (a[3] & MAP_TYPE) == MAP_PRIVATE || (a[3] & MAP_ANONYMOUS)) LET_IT(id);
    return untraced(id, thread, a[4], "a shared mapping is not traced");
  default: LET_IT(id);
  }
}

/* --- start and end ------------------------------------------------------------------------------------------------ */

static int install_filter(void) {
  static const int numbers[] = {
#ifdef SYS_open
    SYS_open, SYS_creat, SYS_mkdir, SYS_rename, SYS_unlink, SYS_rmdir,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
    SYS_openat, SYS_mkdirat, SYS_renameat2, SYS_unlinkat, SYS_linkat, SYS_write, SYS_pwrite64, SYS_writev,
    SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_pwritev, SYS_pwritev2, SYS_fallocate, SYS_sync_file_range,
    SYS_copy_file_range};
  enum { COUNT = sizeof numbers / sizeof *numbers };
  struct sock_filter program[COUNT + 8];
  int at = 0;
  program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (int n = 0; n < COUNT; n++)
    program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[n], COUNT - n + 4, 0);
  /* Of mmap only what is shared. */
  program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 2);
  program[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3]));
  program[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_SHARED, 1, 0);
  program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  program[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
  /* The jumps above lead to the last line. */
  for (int n = 0; n < COUNT; n++) program[1 + n].jt = at - 1 - (1 + n) - 1;
  struct sock_fprog filter = {at, program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("no_new_privs");
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
}

static void forward(int signal) { kill(child, signal); }

static void pass(int socket, int fd) {
  char byte = 0, room[CMSG_SPACE(sizeof fd)] = {0};
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (sendmsg(socket, &message, 0) != 1) die("sendmsg");
}

static int receive(int socket) {
  char byte, room[CMSG_SPACE(sizeof(int))];
  struct iovec part = {&byte, 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  if (recvmsg(socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message)) die("no filter in the child");
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  return fd;
}

int main(int count, char **arguments) {
  if (count < 6) return 2;
  char state[PATH_MAX];
  if (!realpath(arguments[1], root)) die(arguments[1]);
  root_length = strlen(root);
  trace_fd = open(arguments[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  control_fd = open(arguments[3], O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
  snprintf(state, sizeof state, "%s.state", arguments[3]);
  state_fd = open(state, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (trace_fd < 0 || control_fd < 0 || state_fd < 0) die("trace or control file");
  sync_microseconds = atol(arguments[4]);
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) die("socketpair");
  child = fork();
  if (child < 0) die("fork");
  if (!child) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int listener = install_filter();
    if (listener < 0) _exit(98);
    pass(sockets[1], listener);
    close(listener);
    execvp(arguments[5], arguments + 5);
    _exit(97);
  }
  close(sockets[1]);
  notify_fd = receive(sockets[0]);
  child_fd = syscall(SYS_pidfd_open, child, 0);
  if (child_fd < 0) die("pidfd_open");
  /* No SA_RESTART: the loop below is to go on. */
  struct sigaction action = {.sa_handler = forward};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  struct seccomp_notif_sizes sizes;
  if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)) die("GET_NOTIF_SIZES");
  struct seccomp_notif *notice = calloc(1, sizes.seccomp_notif > sizeof *notice ? sizes.seccomp_notif : sizeof *notice);
  for (;;) {
    struct pollfd ready[2] = {{notify_fd, POLLIN, 0}, {child_fd, POLLIN, 0}};
    struct timespec wait, *timeout = NULL;
    if (sync_count) {
      long left = microseconds_until(&syncs[0].due);
      if (left < 0) left = 0;
      wait = (struct timespec){left / 1000000, left % 1000000 * 1000};
      timeout = &wait;
    }
    int found = ppoll(ready, 2, timeout, NULL);
    if (found < 0 && errno != EINTR) die("poll");
    answer_syncs();
    if (found > 0 && (ready[0].revents & POLLIN)) {
      memset(notice, 0, sizes.seccomp_notif);
      if (!ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_RECV, notice)) handle(notice);
      else if (errno != ENOENT && errno != EINTR) die("NOTIF_RECV");
    } else if (found > 0 && (ready[1].revents & POLLIN)) {
      int status;
      if (waitpid(child, &status, 0) != child) die("waitpid");
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }
}
