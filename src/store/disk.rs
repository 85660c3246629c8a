//! Marks, floor and horizon in a redb file.
