package graf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	defaultPartsAbove = 64 << 20
	// usualPartSize is what Graf's parts have; its answer tells.
	usualPartSize = 16 << 20
	// slowest is the bytes a second below which an upload is taken for stuck, and tried again.
	slowest = 64 << 10
	// completeTimeout is longer than Graf takes to read what was uploaded.
	completeTimeout = 6 * time.Minute
	// parallelParts are sent at a time.
	parallelParts = 4
)

// sums are a file's SHA-256, as a whole and of each part.
type sums struct {
	whole string
	parts []string
}

// digest reads the file once. partSize 0 is for a file without parts.
func digest(file File, partSize int64) (sums, error) {
	var all sums
	whole := sha256.New()
	step := partSize
	if step == 0 {
		step = file.Size
	}
	for offset := int64(0); offset < file.Size; offset += step {
		size := min(step, file.Size-offset)
		to, part := io.Writer(whole), hash.Hash(nil)
		if partSize > 0 {
			part = sha256.New()
			to = io.MultiWriter(whole, part)
		}
		read, err := io.Copy(to, io.NewSectionReader(file.Content, offset, size))
		if err != nil {
			return all, fmt.Errorf("artifact %s: %w", file.Name, err)
		}
		if read < size {
			return all, fmt.Errorf("artifact %s: %w", file.Name, ErrChanged)
		}
		if part != nil {
			all.parts = append(all.parts, hex.EncodeToString(part.Sum(nil)))
		}
	}
	all.whole = hex.EncodeToString(whole.Sum(nil))
	return all, nil
}

// partsUpload is an upload in parts.
type partsUpload struct {
	client *Client
	task   uuid.UUID
	upload Upload
	file   File
	sums   []string
	size   int64
	progress
}

// uploadInParts declares the artifact, and sends those parts that are not there.
func (c *Client) uploadInParts(ctx context.Context, task uuid.UUID, event Event, file File, sums sums) (Upload, error) {
	upload, err := c.declare(ctx, task, event)
	if err != nil {
		return upload, err
	}
	u := &partsUpload{
		client: c, task: task, upload: upload, file: file, sums: sums.parts, size: usualPartSize,
		progress: progress{report: file.Progress, size: file.Size},
	}
	parts, err := u.ask(ctx, PartsRequest{Parts: []PartDeclaration{}})
	if err != nil {
		return upload, err
	}
	if parts.PartSizeBytes != u.size {
		again, err := digest(file, parts.PartSizeBytes)
		if err != nil {
			return upload, err
		}
		if again.whole != sums.whole {
			return upload, fmt.Errorf("artifact %s: %w", file.Name, ErrChanged)
		}
		u.size, u.sums = parts.PartSizeBytes, again.parts
	}
	u.begin(len(u.sums))
	if err := u.sendAll(ctx, parts); err != nil {
		return upload, err
	}
	return upload, c.complete(ctx, task, upload)
}

// complete has Graf put the parts together and check all bytes, which takes a while.
func (c *Client) complete(ctx context.Context, task uuid.UUID, upload Upload) error {
	patient := *c
	patient.timeout = max(c.timeout, completeTimeout)
	return patient.do(ctx, call{operation: operationCompleteArtifact, arguments: []any{task, upload.ArtifactID}}, nil)
}

func (u *partsUpload) ask(ctx context.Context, request PartsRequest) (ArtifactParts, error) {
	var parts ArtifactParts
	arguments := []any{u.task, u.upload.ArtifactID}
	return parts, u.client.do(ctx, call{operation: operationUploadArtifactParts, arguments: arguments, body: request}, &parts)
}

// stored says whether Graf has a part as it is here.
func (u *partsUpload) stored(parts ArtifactParts, number int) bool {
	return slices.ContainsFunc(parts.Stored, func(p StoredPart) bool {
		return p.PartNumber == number && p.Sha256 == u.sums[number-1]
	})
}

// sendAll sends the parts that are missing, some at a time, until one fails for good.
func (u *partsUpload) sendAll(ctx context.Context, parts ArtifactParts) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var work sync.WaitGroup
	for range min(parallelParts, len(u.sums)) {
		work.Go(func() {
			for number := range numbers {
				if err := u.send(ctx, number); err != nil {
					cancel(err)
				}
			}
		})
	}
	for number := 1; number <= len(u.sums) && ctx.Err() == nil; number++ {
		if u.stored(parts, number) {
			u.at(number, u.length(number))
			continue
		}
		select {
		case numbers <- number:
		case <-ctx.Done():
		}
	}
	close(numbers)
	work.Wait()
	return context.Cause(ctx)
}

// length is a part's, in bytes.
func (u *partsUpload) length(number int) int64 {
	return min(u.size, u.file.Size-int64(number-1)*u.size)
}

// send sends one part. Each try asks anew: what was sent may be there although there
// was no answer.
func (u *partsUpload) send(ctx context.Context, number int) error {
	sum := u.sums[number-1]
	return u.client.again(ctx, true, func() error {
		parts, err := u.ask(ctx, PartsRequest{Parts: []PartDeclaration{{PartNumber: number, Sha256: sum}}})
		if err != nil {
			return final(err) // it was tried again already
		}
		if u.stored(parts, number) {
			u.at(number, u.length(number))
			return nil
		}
		if len(parts.Uploads) != 1 {
			return final(fmt.Errorf("artifact %s: %d uploads of part %d are offered, not 1", u.file.Name, len(parts.Uploads), number))
		}
		to := parts.Uploads[0]
		content := newSending(u.file, int64(number-1)*u.size, u.length(number), func(sent, _ int64) { u.at(number, sent) })
		return u.client.put(ctx, presigned{to.Method, to.URL, to.Headers}, content, sum)
	})
}

// progress adds up what was sent of each part.
type progress struct {
	mu     sync.Mutex
	report func(sent, size int64)
	size   int64
	total  int64
	parts  []int64
}

func (p *progress) begin(parts int) { p.parts = make([]int64, parts) }

// at notes how much of a part was sent.
func (p *progress) at(number int, sent int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += sent - p.parts[number-1]
	p.parts[number-1] = sent
	if p.report != nil {
		p.report(p.total, p.size)
	}
}
