package graf

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrChanged is a file that changed while it was uploaded.
	ErrChanged = errors.New("the file changed while it was uploaded")
	// ErrChecked is an upload of what is there already: Graf has checked the artifact of
	// this event, and verified or rejected it. The task's artifacts tell which.
	ErrChecked = errors.New("it was uploaded and checked already")
	// ErrDamaged is a download whose size or SHA-256 is not the artifact's.
	ErrDamaged = errors.New("the download is not what was uploaded")
)

// File is what [Client.UploadArtifact] uploads.
type File struct {
	// Name is the artifact's, without folders.
	Name string
	// ContentType is "application/octet-stream" if it is empty.
	ContentType string
	// EventID is that of the event which declares the artifact; random if it is empty.
	EventID string
	// Content is read twice, and again with each try: a file, or a bytes.Reader.
	Content io.ReaderAt
	Size    int64
	// Progress is called as bytes are sent, by one goroutine at a time; sent is less than
	// before where something is sent again. It may be nil.
	Progress func(sent, size int64)
}

// UploadArtifact declares an artifact of the task and uploads it to object storage
// by presigned requests that Graf answers with; its SHA-256 is verified. One of more
// than [Options].PartsAbove bytes is uploaded in parts, each of which is tried again by
// itself. What broke off altogether goes on where it was when the same file is
// uploaded again with the same EventID. Errors besides Graf's refusals: ErrChanged, and
// ErrChecked, also where the answer to an upload that arrived was lost.
func (c *Client) UploadArtifact(ctx context.Context, task uuid.UUID, file File) (Upload, error) {
	partSize := int64(0)
	if file.Size > c.partsAbove {
		partSize = usualPartSize
	}
	sums, err := digest(file, partSize)
	if err != nil {
		return Upload{}, err
	}
	declaration := ArtifactDeclaration{
		Name: file.Name, ContentType: cmp.Or(file.ContentType, "application/octet-stream"), SizeBytes: file.Size, Sha256: sums.whole,
	}
	event := Event{
		EventID: cmp.Or(file.EventID, uuid.NewString()), EventType: EventTypeArtifact, Artifacts: []ArtifactDeclaration{declaration},
	}
	if partSize > 0 {
		return c.uploadInParts(ctx, task, event, file, sums)
	}
	var upload Upload
	return upload, c.again(ctx, true, func() error {
		// The same event again is answered with a request whose time has not run out.
		if upload, err = c.declare(ctx, task, event); err != nil {
			return final(err) // it was tried again already
		}
		return c.put(ctx, presigned{upload.Method, upload.URL, upload.Headers}, newSending(file, 0, file.Size, file.Progress), sums.whole)
	})
}

// declare reports the event that declares one artifact.
func (c *Client) declare(ctx context.Context, task uuid.UUID, event Event) (Upload, error) {
	accepted, err := c.PostEvents(ctx, task, event)
	if err != nil {
		return Upload{}, err
	}
	switch len(accepted.Uploads) {
	case 0:
		return Upload{}, fmt.Errorf("artifact %s: %w", event.Artifacts[0].Name, ErrChecked)
	case 1:
		return accepted.Uploads[0], nil
	default:
		return Upload{}, fmt.Errorf("artifact %s: %d uploads are offered, not 1", event.Artifacts[0].Name, len(accepted.Uploads))
	}
}

// UploadFile uploads the file at path under its own name, with the content type
// of its extension.
func (c *Client) UploadFile(ctx context.Context, task uuid.UUID, path string) (Upload, error) {
	file, err := os.Open(path)
	if err != nil {
		return Upload{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return Upload{}, err
	}
	return c.UploadArtifact(ctx, task, File{
		Name: filepath.Base(path), ContentType: mime.TypeByExtension(filepath.Ext(path)), Content: file, Size: info.Size(),
	})
}

// presigned is a request that object storage takes from whoever has it.
type presigned struct {
	method  UploadMethod
	url     string
	headers map[string]string
}

// put sends bytes by a presigned request, within a time that a slow network keeps.
func (c *Client) put(ctx context.Context, to presigned, content *sending, sum string) error {
	defer content.stop()
	ctx, cancel := context.WithTimeout(ctx, c.timeout+time.Duration(content.size/slowest)*time.Second)
	defer cancel()
	var body io.Reader = http.NoBody // a length of 0 with another body would be sent as unknown
	if content.size > 0 {
		body = content
	}
	request, err := http.NewRequestWithContext(ctx, string(to.method), to.url, body)
	if err != nil {
		return final(fmt.Errorf("artifact %s: %w", content.name, hideQuery(err)))
	}
	request.ContentLength = content.size
	for name, value := range to.headers {
		request.Header.Set(name, value)
	}
	err = c.transfer(request, "upload of "+content.name, func(io.Reader) error { return nil })
	if content.changed(sum) {
		return final(fmt.Errorf("artifact %s: %w", content.name, ErrChanged))
	}
	return err
}

// sending is the bytes of one request. A connection may go on to read them for a
// moment after the request has failed.
type sending struct {
	name string
	size int64

	mu       sync.Mutex
	from     io.Reader
	hash     hash.Hash
	sent     int64
	short    bool
	stopped  bool
	progress func(sent, size int64)
}

func newSending(file File, offset, size int64, progress func(sent, size int64)) *sending {
	return &sending{
		name: file.Name, size: size, from: io.NewSectionReader(file.Content, offset, size), hash: sha256.New(), progress: progress,
	}
}

// Read implements io.Reader.
func (s *sending) Read(buffer []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return 0, io.ErrClosedPipe
	}
	n, err := s.from.Read(buffer)
	s.hash.Write(buffer[:n])
	s.sent += int64(n)
	s.short = err == io.EOF && s.sent < s.size
	if s.progress != nil && n > 0 {
		s.progress(s.sent, s.size)
	}
	return n, err
}

func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// changed says whether what was read cannot be of the file that was hashed.
func (s *sending) changed(sum string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.short || s.sent == s.size && hex.EncodeToString(s.hash.Sum(nil)) != sum
}

// transfer sends a presigned request, without Graf's token.
func (c *Client) transfer(request *http.Request, what string, read func(io.Reader) error) error {
	response, err := c.roundTrip(request)
	if err != nil {
		return fmt.Errorf("%s: %w", what, hideQuery(err))
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode >= http.StatusMultipleChoices {
		answer, _ := io.ReadAll(io.LimitReader(response.Body, maxQuoted)) // half of it tells something, too
		return newProblem(what, response, answer)
	}
	return read(response.Body)
}

// receiving tells how far a download is, and what it waits for is bounded.
type receiving struct {
	from       io.Reader
	sent, size int64
	progress   func(received, size int64)
	silence    *time.Timer
	most       time.Duration
}

// Read implements io.Reader. Whoever writes what was read may take their time.
func (r *receiving) Read(buffer []byte) (int, error) {
	r.silence.Reset(r.most)
	n, err := r.from.Read(buffer)
	r.silence.Stop()
	r.sent += int64(n)
	if r.progress != nil && (n > 0 || err == io.EOF) {
		r.progress(r.sent, r.size)
	}
	return n, err
}

// DownloadArtifact writes an artifact to a writer and verifies it: until it has
// returned nil, what was written may be damaged. progress may be nil. Errors: ErrDamaged,
// ErrBrokenOff, those of the writer, and a [*Problem] of the object storage, ErrForbidden if
// the link has run out ([Client.Task] gives a new one).
func (c *Client) DownloadArtifact(ctx context.Context, artifact Artifact, to io.Writer, progress func(received, size int64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(c.timeout, func() { cancel(errSilent) })
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, artifact.DownloadURL, nil)
	if err != nil {
		return fmt.Errorf("artifact %s: %w", artifact.Name, err)
	}
	return c.transfer(request, "download of "+artifact.Name, func(body io.Reader) error {
		hash := sha256.New()
		// One byte more than there should be tells that there is too much.
		from := &receiving{
			from: io.LimitReader(body, artifact.SizeBytes+1), size: artifact.SizeBytes, progress: progress, silence: silence, most: c.timeout,
		}
		size, err := io.Copy(io.MultiWriter(hash, to), from)
		if errors.Is(err, ErrBrokenOff) {
			return fmt.Errorf("download of %s: %w", artifact.Name, err)
		}
		if err != nil {
			return final(fmt.Errorf("download of %s: %w", artifact.Name, err)) // the writer's, such as of a full disk
		}
		if size != artifact.SizeBytes || hex.EncodeToString(hash.Sum(nil)) != artifact.Sha256 {
			return fmt.Errorf("artifact %s: %w: %d bytes with SHA-256 %x", artifact.Name, ErrDamaged, size, hash.Sum(nil))
		}
		return nil
	})
}

// DownloadFile downloads an artifact into a folder under its own name, and gives the
// path. The file is there only whole and verified; it replaces one of that name. A
// download that breaks off is tried again.
func (c *Client) DownloadFile(ctx context.Context, artifact Artifact, folder string, progress func(received, size int64)) (string, error) {
	if !filepath.IsLocal(artifact.Name) || filepath.Base(artifact.Name) != artifact.Name {
		return "", fmt.Errorf("artifact %q has no name for a file", artifact.Name)
	}
	path := filepath.Join(folder, artifact.Name)
	err := c.again(ctx, true, func() error { return c.downloadOnce(ctx, artifact, path, progress) })
	return path, err
}

func (c *Client) downloadOnce(ctx context.Context, artifact Artifact, path string, progress func(received, size int64)) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".graf-*")
	if err != nil {
		return final(err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name()) // nobody looks for it
		}
	}()
	err = c.DownloadArtifact(ctx, artifact, file, progress)
	if err = errors.Join(err, final(file.Close())); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return final(err)
	}
	return nil
}
