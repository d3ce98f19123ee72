package repository

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The variables with the credentials.
const (
	usernameVariable = "GIT_USERNAME"
	tokenVariable    = "GIT_TOKEN"
	// anyUsername is for forges, which look at the token alone.
	anyUsername = "git"
)

// HelperName is the subcommand of graf-runner that Credential is.
const HelperName = "git-credential"

// WithoutCredentials is an environment, NAME=value, without those of the repository:
// agents get none, as pushing is not theirs.
func WithoutCredentials(environment []string) []string {
	return slices.DeleteFunc(slices.Clone(environment), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return name == usernameVariable || name == tokenVariable
	})
}

// helperCommand is git's credential.helper: a command for a shell.
func helperCommand(program string, u *url.URL) string {
	quoted := func(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
	return "!" + quoted(program) + " " + HelperName + " " + u.Scheme + "://" + quoted(u.Host)
}

// askedBy is the descriptor of the socket by which git's helper, who inherits it, asks
// the runner. Environments of processes, their arguments, files and pipes can be read
// by whoever is the same user, as the agent is; a socket cannot be opened by another.
const askedBy = 3

// maxCredential bounds a credential, in bytes.
const maxCredential = 64 << 10

// serveCredentials answers what is asked by a socket, which it returns for git, until
// stop is called: with the value of the variable that a message names, in one message.
func serveCredentials(variables []string) (socket *os.File, stop func(), err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket for git's credentials: %w", err)
	}
	ours, socket := os.NewFile(uintptr(pair[0]), "credentials"), os.NewFile(uintptr(pair[1]), "credentials")
	go func() {
		name := make([]byte, len(usernameVariable)+len(tokenVariable))
		for {
			n, err := ours.Read(name)
			if err != nil {
				return // all have closed it, or stop has
			}
			_, _ = ours.WriteString(valueOf(variables, string(name[:n])) + "\n") // who asked may have gone
		}
	}()
	return socket, func() { _, _ = ours.Close(), socket.Close() }, nil // nothing is to be written
}

func valueOf(variables []string, name string) string {
	for _, variable := range variables {
		if value, found := strings.CutPrefix(variable, name+"="); found {
			return value
		}
	}
	return ""
}

// AskRunner asks the runner, which has started git, which has started this process,
// for a credential: "" for none.
func AskRunner(name string) string {
	socket := os.NewFile(askedBy, "credentials")
	if _, err := socket.WriteString(name); err != nil {
		return ""
	}
	answer := make([]byte, maxCredential)
	n, err := socket.Read(answer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(answer[:n]), "\n")
}

// Credential answers git as its credential helper, see git-credential(1): with what
// get has, for the one origin, SCHEME://HOST, alone. What a redirect or a repository
// leads to is told nothing.
func Credential(get func(name string) string, origin, operation string, in io.Reader, out io.Writer) error {
	asked := map[string]string{}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), "=")
		asked[name] = value
	}
	if operation != "get" || asked["protocol"]+"://"+asked["host"] != origin {
		return nil
	}
	token := get(tokenVariable)
	if token == "" {
		return nil
	}
	username := cmp.Or(get(usernameVariable), anyUsername)
	if strings.ContainsAny(username+token, "\n\x00") {
		return fmt.Errorf("%s and %s must be one line each", usernameVariable, tokenVariable)
	}
	_, err := fmt.Fprintf(out, "username=%s\npassword=%s\n", username, token)
	return err
}
