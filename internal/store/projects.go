package store

import "context"

func (db *DB) finishDeleting(context.Context) {}
