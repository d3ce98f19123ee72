// Package repository brings a git repository into the folder that an agent works in,
// tells what the agent changed, and takes it to where it came from: as a branch, and
// as a pull request.
//
// It runs the git program. Whatever lies in the folder after the agent has worked
// there is the agent's, the configuration in .git among it, which can name programs
// to run and hosts to send to. So git is run on a folder of the runner's own instead
// (GIT_DIR), made when the agent has ended, with objects alone from the agent's; only
// git that talks to the network has the token, by a credential helper that gives it to
// the repository's host alone.
package repository

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Kinds of forges: where pull requests are opened.
const (
	GitHub = "github"
	Gitea  = "gitea"
)

// Config is which repository an agent works in, and what becomes of its work.
type Config struct {
	// URL is the repository's, "" for none but the one that may be there.
	URL string
	// Revision is what to begin with: a branch, a tag or a whole commit hash; "" is the
	// remote's default branch.
	Revision string
	// Branch is what is pushed to; "" is graf/ and the task's id.
	Branch string
	Push   bool
	// PullRequest opens one for the branch, and implies Push.
	PullRequest bool
	// Forge is GitHub or Gitea; "" is told by the host. ForgeURL is where its API
	// begins; "" is derived of the repository's URL.
	Forge, ForgeURL string
	// Timeout bounds the clone and the push, each.
	Timeout time.Duration
	// AllowFile allows repositories of the file system.
	AllowFile bool
}

// ErrConfig says that a setting cannot be used.
var ErrConfig = errors.New("the repository's settings are wrong")

// refName is what branches and revisions may be called; git is told what they are,
// and they are never taken for options.
var refName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._/+@-]{0,250}[A-Za-z0-9_+-])?$`)

// scpLike is ssh's short form of a URL: git@host:owner/name.git.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?([A-Za-z0-9.-]+):([^/:\\].*)$`)

// Check says what is wrong with the settings: ErrConfig.
func (c Config) Check() error {
	errs := []error{c.checkLocation(), c.checkForge()}
	for what, name := range map[string]string{"revision": c.Revision, "branch": c.Branch} {
		if name != "" && !validRef(name) {
			errs = append(errs, fmt.Errorf("%s %q is no name that git knows", what, name))
		}
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("the timeout is %v: it must be more than 0", c.Timeout))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (c Config) checkLocation() error {
	if c.URL != "" {
		_, err := c.location()
		return err
	}
	if c.Push || c.PullRequest || c.Revision != "" || c.Branch != "" {
		return errors.New("there is no repository: give its URL")
	}
	return nil
}

func (c Config) checkForge() error {
	if c.Forge != "" && c.Forge != GitHub && c.Forge != Gitea {
		return fmt.Errorf("there is no forge %q: use %s or %s", c.Forge, GitHub, Gitea)
	}
	if !c.PullRequest || c.URL == "" {
		return nil
	}
	_, err := c.forge()
	return err
}

// validRef leaves out what git-check-ref-format(1) refuses.
func validRef(name string) bool {
	if !refName.MatchString(name) || strings.Contains(name, "..") || strings.Contains(name, "@{") {
		return false
	}
	return !slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") || strings.HasSuffix(part, ".")
	})
}

// location reads the URL. Of ssh's short form it makes a long one.
func (c Config) location() (*url.URL, error) {
	if match := scpLike.FindStringSubmatch(c.URL); match != nil && !strings.Contains(c.URL, "://") {
		return &url.URL{Scheme: "ssh", Host: match[2], Path: "/" + match[3]}, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("the URL cannot be read") // its error would quote a password
	}
	schemes := []string{"https", "http", "ssh"}
	if c.AllowFile {
		schemes = append(schemes, "file")
	}
	_, password := u.User.Password()
	switch {
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("URL %q: it must begin with one of %s", u.Redacted(), strings.Join(schemes, ", "))
	case u.Host == "" && u.Scheme != "file", strings.HasPrefix(u.Host, "-"), strings.Trim(u.Path, "/") == "":
		return nil, fmt.Errorf("URL %q: it must have a host and a path", u.Redacted())
	case password, u.User != nil && u.Scheme != "ssh":
		return nil, fmt.Errorf("URL %q: credentials belong into GIT_USERNAME and GIT_TOKEN", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("URL %q: it must have no query and no fragment", u.Redacted())
	}
	return u, nil
}

// forge tells where pull requests are opened, and of which repository there.
func (c Config) forge() (forge, error) {
	u, err := c.location()
	if err != nil {
		return forge{}, err
	}
	parts := strings.Split(strings.Trim(strings.TrimSuffix(u.Path, ".git"), "/"), "/")
	if len(parts) < 2 {
		return forge{}, fmt.Errorf("URL %q: pull requests need one that ends in OWNER/NAME", c.URL)
	}
	f := forge{kind: c.Forge, base: strings.TrimSuffix(c.ForgeURL, "/"), owner: parts[len(parts)-2], name: parts[len(parts)-1]}
	if f.kind == "" && u.Hostname() == "github.com" {
		f.kind = GitHub
	}
	if f.kind == "" {
		return forge{}, fmt.Errorf("which forge is at %s is not known: say %s or %s", u.Hostname(), GitHub, Gitea)
	}
	if f.base == "" {
		f.base = apiBase(f.kind, u)
	}
	if api, err := url.Parse(f.base); err != nil || (api.Scheme != "https" && api.Scheme != "http") || api.Host == "" || api.User != nil {
		return forge{}, fmt.Errorf("the forge's URL %q must be an http or https URL without credentials", c.ForgeURL)
	}
	return f, nil
}

// apiBase is where a forge's API is by its documentation.
func apiBase(kind string, u *url.URL) string {
	host, scheme := u.Host, u.Scheme
	if scheme != "http" && scheme != "https" {
		host, scheme = u.Hostname(), "https"
	}
	switch {
	case kind == Gitea:
		return scheme + "://" + host + "/api/v1"
	case u.Hostname() == "github.com":
		return "https://api.github.com"
	default: // GitHub Enterprise Server
		return scheme + "://" + host + "/api/v3"
	}
}
