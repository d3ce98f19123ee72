package graf

import (
	"context"
	"iter"

	"github.com/google/uuid"
)

// DeadLetterPage is one page of the events that no subscriber took, newest first;
// for operators.
func (c *Client) DeadLetterPage(ctx context.Context, params ListDeadLettersParams) (DeadLetterPage, error) {
	var page DeadLetterPage
	return page, c.do(ctx, call{operation: operationListDeadLetters, query: encode(params)}, &page)
}

// DeadLetters are all that fit the parameters, newest first, read page by page. An
// error is the last that is yielded.
func (c *Client) DeadLetters(ctx context.Context, params ListDeadLettersParams) iter.Seq2[DeadLetter, error] {
	return pages(params.Cursor, func(cursor string) ([]DeadLetter, string, error) {
		params.Cursor = cursor
		page, err := c.DeadLetterPage(ctx, params)
		return page.DeadLetters, page.NextCursor, err
	})
}

// DeadLetter is one of them, with its event.
func (c *Client) DeadLetter(ctx context.Context, id uuid.UUID) (DeadLetter, error) {
	var letter DeadLetter
	return letter, c.do(ctx, call{operation: operationGetDeadLetter, arguments: []any{id}}, &letter)
}

// ReplayDeadLetter sends its event again, once for each letter.
func (c *Client) ReplayDeadLetter(ctx context.Context, id uuid.UUID) (DeadLetter, error) {
	var letter DeadLetter
	return letter, c.do(ctx, call{operation: operationReplayDeadLetter, arguments: []any{id}}, &letter)
}
