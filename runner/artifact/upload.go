package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"os"
	"path"
	"regexp"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	graf "github.com/graf-run/graf/sdk/go"
)

const (
	// tries is how often a file is hashed and sent that changes meanwhile, with a pause
	// between that grows.
	tries = 4
	pause = 250 * time.Millisecond
)

// mediaType is what the API takes for one.
var mediaType = regexp.MustCompile(`^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(;[ -~]*)?$`)

// Uploader uploads the files of one task.
type Uploader struct {
	Client *graf.Client
	Task   uuid.UUID
	// Folder is the agent's, Patterns are relative to it.
	Folder   string
	Patterns []string
	// Mask takes secrets out of names and messages.
	Mask func(string) string
	// Warn hears which file is not uploaded and why, without secrets.
	Warn func(message string)
	// Prefix is that of the events' ids; they are numbered.
	Prefix string

	events int
}

// Run uploads all files that match, and returns how many were. What goes wrong with one
// is told to Warn, and does not keep it from the others, unless Graf is away or the
// task takes no more.
func (u *Uploader) Run(ctx context.Context) (uploaded int) {
	root, err := os.OpenRoot(u.Folder)
	if err != nil {
		u.warn("no artifacts are uploaded: " + err.Error())
		return 0
	}
	defer func() { _ = root.Close() }() // it was only read
	names := names{mask: u.Mask, used: map[string]bool{}}
	found := find(ctx, root, u.Patterns, u.warn)
	for i, file := range found {
		err := u.upload(ctx, root, file, names.of(file))
		if err == nil {
			uploaded++
			continue
		}
		u.warn(fmt.Sprintf("%q is not uploaded: %v", file, err))
		if left := len(found) - i - 1; left > 0 && !ofFile(err) {
			u.warn(fmt.Sprintf("nor are %d more files", left))
			break
		}
	}
	return uploaded
}

// ofFile says whether an error is this file's alone. With others, as that Graf is away or
// takes no more, other files would not fare better.
func ofFile(err error) bool {
	_, read := errors.AsType[*fs.PathError](err)
	return read || errors.Is(err, fs.ErrInvalid) || errors.Is(err, graf.ErrChanged) || errors.Is(err, graf.ErrInvalid)
}

func (u *Uploader) warn(message string) { u.Warn(u.Mask(message)) }

// upload uploads a file, anew if it changes meanwhile.
func (u *Uploader) upload(ctx context.Context, root *os.Root, file, name string) error {
	for try := 1; ; try++ {
		err := u.once(ctx, root, file, name)
		if !errors.Is(err, graf.ErrChanged) || try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * pause):
		}
	}
}

// once uploads a file as it is now. Its event is a new one each time: what was declared
// of a file that has changed since is never completed, and Graf rejects it.
func (u *Uploader) once(ctx context.Context, root *os.Root, file, name string) error {
	// Not to wait for whoever writes to a pipe.
	content, err := root.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it was only read
	info, err := content.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is no regular file", fs.ErrInvalid)
	}
	u.events++
	_, err = u.Client.UploadArtifact(ctx, u.Task, graf.File{
		Name: name, ContentType: contentType(file), EventID: u.Prefix + strconv.Itoa(u.events), Content: content, Size: info.Size(),
	})
	return err
}

// contentType is that of the file's extension.
func contentType(file string) string {
	if found := mime.TypeByExtension(path.Ext(file)); mediaType.MatchString(found) {
		return found
	}
	return "application/octet-stream"
}
