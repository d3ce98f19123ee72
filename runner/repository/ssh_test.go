package repository

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sshHost is a repository that OpenSSH's server serves on loopback, to those who have
// the key.
type sshHost struct {
	*remote
	// folder has all that is the host's and its client's: the keys "host", "client",
	// "locked" (by a passphrase) and "stranger", which is refused, and known_hosts.
	folder, address, user string
}

// sshdConfig is sshd_config(5) of an ADDRESS and a FOLDER. Temporary folders are in
// one that everybody may write to, which StrictModes refuses; PAM would ask the
// machine's own settings. The client may send all variables, which the command notes.
const sshdConfig = `
ListenAddress ADDRESS
HostKey FOLDER/host
AuthorizedKeysFile FOLDER/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserRC no
UsePAM no
StrictModes no
PidFile none
MaxAuthTries 2
AcceptEnv *
ForceCommand sh FOLDER/command
`

// sshCommand is what a session runs, as forges have one: it does what the client asks
// for, but ends the connection instead, once, where there is a file "cut". Paths are
// relative to /, as short URLs have no others.
const sshCommand = `
env >> FOLDER/environments
rm FOLDER/cut 2> /dev/null && kill -KILL $PPID && exit
cd / && eval "$SSH_ORIGINAL_COMMAND"
`

func newSSHHost(t *testing.T) *sshHost {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	h := &sshHost{remote: newRemote(t), folder: t.TempDir(), user: me.Username}
	for name, passphrase := range map[string]string{"host": "", "client": "", "stranger": "", "locked": "a passphrase"} {
		h.makeKey(name, passphrase)
	}
	write(t, h.folder, map[string]string{
		"authorized_keys": h.readKey("client") + h.readKey("locked"), "command": strings.ReplaceAll(sshCommand, "FOLDER", h.folder),
	})
	if os.Geteuid() == 0 {
		// The folder that root's sshd locks strangers into. systemd makes it where it starts one.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.serve()
	write(t, h.folder, map[string]string{"known_hosts": h.knownAs("host"), "changed_hosts": h.knownAs("stranger"), "no_hosts": ""})
	return h
}

func (h *sshHost) makeKey(name, passphrase string) {
	h.t.Helper()
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", filepath.Join(h.folder, name)).CombinedOutput()
	if err != nil {
		h.t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

// readKey is the public half of a key.
func (h *sshHost) readKey(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.folder, name+".pub"))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// knownAs is a line of known_hosts: that the host has the key.
func (h *sshHost) knownAs(name string) string {
	h.t.Helper()
	_, port, _ := net.SplitHostPort(h.address)
	return "[127.0.0.1]:" + port + " " + h.readKey(name)
}

// serve starts the server, on another port if somebody else is given the one that was
// free.
func (h *sshHost) serve() {
	h.t.Helper()
	var said string
	for range 5 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			h.t.Fatal(err)
		}
		h.address = free.Addr().String()
		_ = free.Close()
		if said = h.start(); said == "" {
			return
		}
	}
	h.t.Fatalf("sshd does not start:\n%s", said)
}

// start starts the server, which ends with the test. It returns what it said instead
// of listening.
func (h *sshHost) start() (said string) {
	h.t.Helper()
	program, err := exec.LookPath("sshd")
	if err != nil { // users have no sbin on their path
		program = "/usr/sbin/sshd"
	}
	config := strings.NewReplacer("ADDRESS", h.address, "FOLDER", h.folder).Replace(sshdConfig)
	write(h.t, h.folder, map[string]string{"sshd_config": config})
	cmd := exec.Command(program, "-D", "-e", "-f", filepath.Join(h.folder, "sshd_config"))
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatalf("start sshd (local/install.sh --test installs it): %v", err)
	}
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "Server listening on") {
			h.endWithTest(cmd, log)
			return ""
		}
		said += lines.Text() + "\n"
	}
	return fmt.Sprint(said, cmd.Wait())
}

func (h *sshHost) endWithTest(cmd *exec.Cmd, log io.Reader) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, log) // a full pipe would hold it up
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
}

// options are those of a run whose image has the key, and known_hosts.
func (h *sshHost) options() Options {
	o := h.remote.options()
	o.URL = "ssh://" + h.user + "@" + h.address + h.remote.folder
	return h.by(o, "-i FOLDER/client")
}

// by has the options' ssh be one with other arguments, of which the first ones count.
// Nothing of the machine's own has a say.
func (h *sshHost) by(o Options, arguments string) Options {
	return h.with(o, "GIT_SSH_COMMAND=ssh -F none "+arguments+" -o IdentitiesOnly=yes -o IdentityAgent=none"+
		" -o GlobalKnownHostsFile=none -o UserKnownHostsFile=FOLDER/known_hosts -o StrictHostKeyChecking=yes")
}

// with is the options with a variable instead of GIT_SSH_COMMAND.
func (h *sshHost) with(o Options, variable string) Options {
	o.Environment = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_SSH_COMMAND=") })
	o.Environment = append(o.Environment, "GIT_TOKEN="+token, "GIT_USERNAME=ann", strings.ReplaceAll(variable, "FOLDER", h.folder))
	return o
}

// image is the options of an image whose ssh needs no GIT_SSH_COMMAND, as its own
// configuration says it all. Tests have no home, so a folder on the path stands for it.
func (h *sshHost) image(o Options) Options {
	program, err := exec.LookPath("ssh")
	if err != nil {
		h.t.Fatal(err)
	}
	write(h.t, h.folder, map[string]string{
		"bin/ssh": "#!/bin/sh\nexec " + program + " -F " + h.folder + "/ssh_config \"$@\"\n",
		"ssh_config": "IdentityFile " + h.folder + "/client\nIdentitiesOnly yes\nIdentityAgent none\n" +
			"GlobalKnownHostsFile none\nUserKnownHostsFile " + h.folder + "/known_hosts\n",
	})
	if err := os.Chmod(filepath.Join(h.folder, "bin", "ssh"), 0o700); err != nil {
		h.t.Fatal(err)
	}
	return h.with(o, "PATH=FOLDER/bin:"+os.Getenv("PATH"))
}

// A repository is cloned by ssh, and the work pushed.
func TestSSH(t *testing.T) {
	t.Parallel()
	host := newSSHHost(t)
	_, port, _ := net.SplitHostPort(host.address)
	for name, change := range map[string]func(Options) Options{
		"by-command": func(o Options) Options { return o },
		"by-image":   host.image,
		"short": func(o Options) Options {
			o.URL = host.user + "@127.0.0.1:" + strings.TrimPrefix(host.remote.folder, "/")
			return host.by(o, "-i FOLDER/client -p "+port)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := change(host.options())
			o.Branch = name
			r := open(t, o)
			write(t, o.Folder, map[string]string{"app/main.txt": "one\n2\n"})
			if change := changed(t, r, "Count."); change.CommitCount != 1 || !strings.Contains(change.Diff, "-two\n+2\n") {
				t.Errorf("%+v", change)
			}
			if !push(t, r) || host.read(name, "app/main.txt") != "one\n2" {
				t.Error("it was not pushed")
			}
			// Another attempt goes on from the branch.
			o.Folder = filepath.Join(t.TempDir(), "again")
			if again := open(t, o); again.start != r.Head() {
				t.Error("the second attempt does not begin with the first one's work")
			}
		})
	}
}

// ssh, which could send what it gets, gets no token. The forge's API does.
func TestSSHHasNoToken(t *testing.T) {
	t.Parallel()
	host := newSSHHost(t)
	forge := httptest.NewServer(&hub{t: t, kind: GitHub})
	t.Cleanup(forge.Close)
	o := host.by(host.options(), "-i FOLDER/client -o SendEnv=*")
	o.PullRequest, o.Forge, o.ForgeURL = true, GitHub, forge.URL+"/api"
	r := open(t, o)
	write(t, o.Folder, map[string]string{"new": "1"})
	changed(t, r, "New.")
	push(t, r)
	if request, err := r.Propose(t.Context(), "New."); err != nil || request.Number != 1 {
		t.Errorf("pull request %+v, %v", request, err)
	}
	text, err := os.ReadFile(filepath.Join(host.folder, "environments"))
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"git-upload-pack", "git-receive-pack"} {
		if !strings.Contains(string(text), "SSH_ORIGINAL_COMMAND="+service) {
			t.Errorf("the host was not asked for %s", service)
		}
	}
	if !strings.Contains(string(text), "\nGIT_SSH_COMMAND=") {
		t.Error("the host does not see ssh's environment")
	}
	if strings.Contains(string(text), token) || strings.Contains(string(text), "GIT_USERNAME") {
		t.Error("ssh has the credentials")
	}
}

// A connection is cut once while it is used.
func TestSSHCutOff(t *testing.T) {
	t.Parallel()
	host := newSSHHost(t)
	o := host.options()
	cut := map[string]string{"cut": ""}
	write(t, host.folder, cut)
	r := open(t, o)
	write(t, o.Folder, map[string]string{"new": "1"})
	changed(t, r, "New.")
	write(t, host.folder, cut)
	if !push(t, r) || host.read("graf/"+task, "new") != "1" {
		t.Error("it was not pushed")
	}
	if _, err := os.Stat(filepath.Join(host.folder, "cut")); err == nil {
		t.Error("no connection was cut")
	}
}

// closed is an address that nobody listens at, nor will before the test ends: it is
// taken.
func closed(t *testing.T) (address string) {
	t.Helper()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(socket) })
	if err := unix.Bind(socket, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port)
}

// listen has a server that is no host of ssh's do something with each connection.
func listen(t *testing.T, do func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			do(connection)
		}
	}()
	return listener.Addr().String()
}

func TestSSHRefused(t *testing.T) {
	t.Parallel()
	host := newSSHHost(t)
	by := func(arguments string) func(*Options) {
		return func(o *Options) { *o = host.by(*o, arguments) }
	}
	at := func(address string) func(*Options) {
		return func(o *Options) { o.URL = strings.Replace(o.URL, host.address, address, 1) }
	}
	silent := listen(t, func(connection net.Conn) { t.Cleanup(func() { _ = connection.Close() }) })
	broken := listen(t, func(connection net.Conn) { _ = connection.Close() })
	for name, c := range map[string]struct {
		change func(*Options)
		want   error
		says   string
	}{
		"refused key":        {by("-i FOLDER/stranger"), ErrAuthentication, "Permission denied (publickey)"},
		"refused keys":       {by("-i FOLDER/stranger -i FOLDER/host"), ErrAuthentication, "Too many authentication failures"},
		"no key":             {by("-i FOLDER/no-such"), ErrAuthentication, "Permission denied (publickey)"},
		"no such repository": {at(host.address + "/no-such"), ErrAuthentication, "does not appear to be a git repository"},
		"away":               {at(closed(t)), ErrInfrastructure, "Connection refused"},
		"cut off":            {at(broken), ErrInfrastructure, ""},
		"too slow": {func(o *Options) {
			at(silent)(o)
			o.Timeout = 500 * time.Millisecond
		}, ErrInfrastructure, "more than 500ms"},
		"unknown host": {by("-i FOLDER/client -o BatchMode=yes -o UserKnownHostsFile=FOLDER/no_hosts"), ErrAuthentication, "put it into the image's known_hosts"},
		"another host": {by("-i FOLDER/client -o UserKnownHostsFile=FOLDER/changed_hosts"), ErrAuthentication, "HAS CHANGED"},
		"no ssh":       {func(o *Options) { *o = host.with(*o, "PATH=FOLDER/no-such") }, ErrGit, "openssh-client"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := host.options()
			c.change(&o)
			_, err := Open(t.Context(), o)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %v that says %q", err, c.want, c.says)
			}
		})
	}
}

// What forges and ssh say where no server of the tests can.
func TestSSHWords(t *testing.T) {
	t.Parallel()
	const after = "\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n"
	for said, want := range map[string]error{
		"ERROR: Repository not found.":                                                                        ErrAuthentication,
		"ERROR: Permission to owner/name.git denied to deploy key":                                            ErrAuthentication,
		"ERROR: The project you were looking for could not be found or you don't have permission to view it.": ErrAuthentication,
		"No user exists for uid 65532":                                                                        errNoSSH,
		"sh: ssh: command not found":                                                                          errNoSSH,
		"ssh: Could not resolve hostname git.example: Temporary failure in name resolution":                   ErrInfrastructure,
		"ssh: connect to host git.example port 22: No route to host":                                          ErrInfrastructure,
		"ssh: connect to host git.example port 22: Connection timed out":                                      ErrInfrastructure,
	} {
		g := git{mask: func(text string) string { return text }}
		err := g.failure(invocation{args: []string{"push"}, network: true}, errors.New("exit status 128"), said+after)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), said) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// atTerminal is the test's program as one that a person starts: it clones the URL
// that is its argument into a folder.
const atTerminal = "at-terminal"

// openAtTerminal is that program. It says how it failed.
func openAtTerminal(url, folder string) int {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		fmt.Println("there is no terminal:", err)
		return 1
	}
	defer terminal.Close()
	_, err = Open(context.Background(), Options{
		Config: Config{URL: url, Timeout: time.Minute}, Folder: folder, TaskID: task, Environment: os.Environ(), Mask: strings.Clone,
	})
	fmt.Println(err)
	return 0
}

// newTerminal makes a terminal, of which the test has one side and a program the other.
func newTerminal(t *testing.T) (mine, theirs *os.File) {
	t.Helper()
	mine, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mine.Close() })
	if err := unix.IoctlSetPointerInt(int(mine.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(mine.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = theirs.Close() })
	return mine, theirs
}

// Where there is a terminal, and a person could be asked, ssh asks nobody: not whether
// a host's key is right, nor for the passphrase of a key.
func TestSSHAsksNothing(t *testing.T) {
	t.Parallel()
	host := newSSHHost(t)
	for name, c := range map[string]struct {
		arguments string
		want      error
	}{
		"unknown host": {"-i FOLDER/client -o StrictHostKeyChecking=ask -o UserKnownHostsFile=FOLDER/no_hosts", errHostKey},
		"locked key":   {"-i FOLDER/locked", ErrAuthentication},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := host.by(host.options(), c.arguments)
			terminal, theirs := newTerminal(t)
			cmd := exec.Command(o.Program, atTerminal, o.URL, o.Folder)
			cmd.Env, cmd.Stdin = append(o.Environment, "TMPDIR="+o.Temporary), theirs
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			out, err := cmd.Output()
			if err != nil || !strings.Contains(string(out), c.want.Error()) {
				t.Errorf("%s, %v, want %v", out, err, c.want)
			}
			if err := theirs.Close(); err != nil {
				t.Fatal(err)
			}
			// Linux ends what was said at a terminal that all have left with an error.
			if asked, _ := io.ReadAll(terminal); len(asked) > 0 {
				t.Errorf("it was asked %q", asked)
			}
		})
	}
}
