"""Checks what MMC4's schema can't express: that the parts of a document fit each other."""

from schemas.mmc4_document import ImageInfo, Mmc4Document


def problem_of(document: Mmc4Document[ImageInfo]) -> str | None:
    """Return what is wrong with a document, None if nothing is."""
    images, matrix, sentences = document.image_info, document.similarity_matrix, len(document.text_list)
    if len(matrix) != len(images) or any(len(row) != sentences for row in matrix):
        return f"its similarity_matrix is not {len(images)} images x {sentences} sentences"
    for number, (image, row) in enumerate(zip(images, matrix, strict=True)):
        at = image.matched_text_index
        if at >= sentences:
            return f"image {number} is assigned to sentence {at} of {sentences}"
        if image.follows_sentence is True and at != sentences - 1:
            return f"image {number} stands after sentence {at}, which is not the last"
        if image.matched_sim != row[at]:
            return f"image {number} has the matched_sim {image.matched_sim}, but {row[at]} in the similarity_matrix"
    return None
