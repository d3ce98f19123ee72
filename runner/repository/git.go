package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Why git failed, where a caller may do something about it.
var (
	// ErrAuthentication says that the credentials are missing, wrong or not enough.
	ErrAuthentication = errors.New("the repository refuses the credentials")
	// ErrInfrastructure says that the repository cannot be reached, or was too slow.
	ErrInfrastructure = errors.New("the repository cannot be reached")
	// ErrDiverged says that the branch has commits that the work is not based on.
	ErrDiverged = errors.New("the branch has diverged")
	// ErrGit says that git failed otherwise.
	ErrGit = errors.New("git failed")
)

// What of these needs words of its own: what to mend is in the image.
var (
	// errHostKey says that the host has not the key that ssh knows, or that ssh knows none.
	errHostKey error = refusal("ssh does not know the key of the repository's host: put it into the image's known_hosts, or into a file that " +
		"GIT_SSH_COMMAND names by -o UserKnownHostsFile=FILE (ssh-keyscan prints it; compare it with what the host publishes)")
	// errNoSSH says that there is no ssh, or none for the user.
	errNoSSH = fmt.Errorf("%w: ssh does not start: the image must have it (openssh-client), and its user in /etc/passwd", ErrGit)
)

// refusal is ErrAuthentication in other words, as it is not the repository that refuses.
type refusal string

func (r refusal) Error() string { return string(r) }

// Is says what it is for errors.Is.
func (refusal) Is(target error) bool { return target == ErrAuthentication }

// maxAnswer bounds what is read of git's output, in bytes.
const maxAnswer = 1 << 20

// pipesStay is how long the output of what outlived git is read.
const pipesStay = 2 * time.Second

// passed are the variables that git gets from the runner's environment.
var passed = []string{
	"PATH", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND",
}

// settings are git's, whatever a repository says: it runs no program of it, and
// follows nothing that is in it.
var settings = [][2]string{
	{"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"}, {"core.askPass", ""}, {"credential.helper", ""},
	{"submodule.recurse", "false"}, {"fetch.recurseSubmodules", "false"}, {"push.recurseSubmodules", "no"},
	{"diff.ignoreSubmodules", "all"}, {"gc.auto", "0"}, {"maintenance.auto", "false"}, {"commit.gpgSign", "false"},
	{"http.lowSpeedLimit", "1000"}, {"http.lowSpeedTime", "60"}, {"transfer.credentialsInUrl", "die"},
	{"core.quotePath", "false"}, {"safe.directory", "*"}, {"advice.detachedHead", "false"},
	{"core.commitGraph", "false"}, // it lies beside the objects, and says of commits what they do not
}

// git runs the program.
type git struct {
	// environment is all that it gets; credentials what helper may ask for where it talks
	// to the network. helper is "" for ssh, which has keys.
	environment, credentials []string
	// program is git itself, home its HOME.
	program, home string
	helper        string
	mask          func(string) string
}

// newGit makes the environment of one the runner got.
func newGit(o Options) git {
	protocols := "http:https:ssh"
	if o.AllowFile {
		protocols += ":file"
	}
	g := git{mask: o.Mask, program: "git", environment: []string{
		"LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=" + protocols, "GIT_OPTIONAL_LOCKS=0", "GIT_PAGER=cat", "GIT_EDITOR=false", "GIT_NO_LAZY_FETCH=1",
		"GIT_AUTHOR_NAME=" + authorName, "GIT_AUTHOR_EMAIL=" + authorEmail,
		"GIT_COMMITTER_NAME=" + authorName, "GIT_COMMITTER_EMAIL=" + authorEmail,
	}}
	// Where the path leads is up to the agent, who may have folders of its own on it.
	if found, err := exec.LookPath(g.program); err == nil {
		g.program = found
	}
	ssh := false
	for _, variable := range o.Environment {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(passed, name) {
			g.environment = append(g.environment, variable)
		}
		if name == usernameVariable || name == tokenVariable {
			g.credentials = append(g.credentials, variable)
		}
		ssh = ssh || name == "GIT_SSH_COMMAND"
	}
	if !ssh {
		g.environment = append(g.environment, "GIT_SSH_COMMAND=ssh -oBatchMode=yes")
	}
	if u, err := o.location(); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		g.helper = helperCommand(o.Program, u)
	}
	return g
}

// invocation is one run of git.
type invocation struct {
	args []string
	// folder is the working one; environment are variables besides.
	folder      string
	environment []string
	input       string
	// network says that it needs the credentials.
	network bool
	// limit bounds the output that is kept, which ends git without an error; 0 is
	// maxAnswer, beyond which there is one.
	limit int
}

// run runs git and returns its output. An error has what git said, without secrets,
// and its class.
func (g git) run(ctx context.Context, i invocation) (string, error) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(limited, g.program, i.args...)
	cmd.Dir, cmd.Stdin = i.folder, strings.NewReader(i.input)
	cmd.Env = append(slices.Clone(g.environment), "HOME="+g.home)
	cmd.Env = append(cmd.Env, i.environment...)
	all := settings
	if i.network && g.helper != "" {
		socket, stop, err := serveCredentials(g.credentials)
		if err != nil {
			return "", err
		}
		defer stop()
		cmd.ExtraFiles = []*os.File{socket} // askedBy
		all = append(slices.Clone(all), [2]string{"credential.helper", g.helper})
	}
	cmd.Env = append(cmd.Env, configured(all)...)
	said := &head{limit: 16 << 10}
	out := &head{limit: cmp.Or(i.limit, maxAnswer), full: cancel}
	cmd.Stdout, cmd.Stderr = out, said
	// Without a terminal ssh asks nothing, whatever GIT_SSH_COMMAND says.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipesStay
	err := cmd.Run()
	switch {
	case out.cut && i.limit > 0:
		return out.String(), nil
	case out.cut:
		return "", fmt.Errorf("%w: git %s: it says more than %d bytes", ErrGit, i.args[0], maxAnswer)
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w: git %s: %w", ErrInfrastructure, i.args[0], context.Cause(ctx))
	case err != nil:
		return "", g.failure(i, err, said.String()+out.String())
	}
	return out.String(), nil
}

// configured is configuration as variables, which come before any file.
func configured(all [][2]string) []string {
	variables := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(all))}
	for i, setting := range all {
		number := strconv.Itoa(i)
		variables = append(variables, "GIT_CONFIG_KEY_"+number+"="+setting[0], "GIT_CONFIG_VALUE_"+number+"="+setting[1])
	}
	return variables
}

// signs tell why git failed by its words; the first that is met counts.
var signs = []struct {
	is      error
	pattern *regexp.Regexp
}{
	{ErrDiverged, regexp.MustCompile(`\[rejected\].*\((?:fetch first|non-fast-forward)\)`)},
	{errHostKey, regexp.MustCompile(`(?i)host key verification failed`)},
	{errNoSSH, regexp.MustCompile(`(?i)\bssh: (?:command )?not found|cannot run ssh|no user exists for uid`)},
	{ErrAuthentication, regexp.MustCompile(`(?i)authentication failed|too many authentication failures|could not read (?:username|password)|` +
		`terminal prompts disabled|returned error: 40[13]|permission denied|access denied|invalid credentials|` +
		`repository .*not found|repository not found|not authorized`)},
	{ErrInfrastructure, regexp.MustCompile(`(?i)could not resolve host|failed to connect|couldn't connect|connection (?:refused|reset|closed|timed out)|` +
		`closed by remote host|no route to host|` +
		`timed? ?out|returned error: (?:429|5\d\d)|early eof|unexpected disconnect|hung up unexpectedly|rpc failed|` +
		`operation too slow|network is unreachable|transfer closed|empty reply|unable to access|no space left`)},
	// What git says of any failure by ssh: here the host has answered, in words of its own.
	{ErrAuthentication, regexp.MustCompile(`make sure you have the correct access rights`)},
}

func (g git) failure(i invocation, err error, said string) error {
	said = strings.TrimSpace(g.mask(strings.ToValidUTF8(said, "")))
	if said == "" || errors.Is(err, exec.ErrNotFound) {
		said = err.Error()
	}
	class := ErrGit
	for _, sign := range signs {
		if i.network && sign.pattern.MatchString(said) {
			class = sign.is
			break
		}
	}
	return &gitError{class: class, end: err, text: "git " + i.args[0] + ": " + clip(said, 1000)}
}

// gitError is why git failed, in its own words, and how it ended.
type gitError struct {
	class, end error
	text       string
}

func (e *gitError) Error() string { return e.class.Error() + ": " + e.text }

func (e *gitError) Unwrap() []error { return []error{e.class, e.end} }

// exitCode is the one that git failed with, -1 if it did not get so far.
func exitCode(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// head keeps the beginning of what is written.
type head struct {
	bytes.Buffer
	limit int
	cut   bool
	// full is called once there is more.
	full func()
}

func (h *head) Write(text []byte) (int, error) {
	room := h.limit - h.Len()
	if len(text) <= room {
		return h.Buffer.Write(text)
	}
	h.Buffer.Write(text[:max(room, 0)])
	h.cut = true
	if h.full == nil {
		return len(text), nil
	}
	h.full()
	return 0, io.ErrShortWrite
}

// clip is the beginning of a text, at most so many bytes.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}
